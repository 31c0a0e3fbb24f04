"""The resident tail: what the log holds beyond the lake, as Arrow batches in this process."""
