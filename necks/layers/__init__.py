"""Layers that several necks share: fusions, attention, resampling, and the walk over the levels."""
