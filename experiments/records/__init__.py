"""What runs leave behind: progress, locks, provenance, the evaluation server's results; their types, and how they are read."""
