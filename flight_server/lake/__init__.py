"""The lake side of a table: exactly the files of one pinned snapshot, as a scan of the engine."""
