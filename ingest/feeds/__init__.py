"""Feeds: where trades come from when no exchange gateway of the house delivers them."""
