"""The two processes in one, in virtual time, from one seed: what `highwater simulate` runs."""
