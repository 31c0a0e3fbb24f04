"""Cuts in the client's hands: asking for at least some cut, or for exactly an earlier one. Pure."""
