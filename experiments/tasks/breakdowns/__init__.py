"""What stands behind the metrics of a task: resamples of the test images, classes; it decides no result."""
