"""Maintenance of the tables: compaction, expiry, collection of files that nothing needs."""
