"""Recorded losses of the first training steps of every setting, by type of processor."""
