"""Flight SQL without Flight: bytes in, values out; one function a command, found in a dict."""
