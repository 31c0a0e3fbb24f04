"""The command `highwater`: its sub-commands, and the tools that need both processes."""
