"""Detection, instance segmentation, …: the data, metrics, costs and precision of each task, one file each."""
