"""What differs between tasks: data, metrics, and what of a model is counted, timed and kept in float32; a file each."""
