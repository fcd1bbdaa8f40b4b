"""One training process, from its newest checkpoint to metrics.json."""
