"""SQL over one pinned cut of history and tail, served over Arrow Flight SQL."""
