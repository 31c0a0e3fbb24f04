"""SQL text to batches over one pinned cut: the joint of lake and tail, and its receipt."""
