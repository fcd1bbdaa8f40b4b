"""What is run: studies as data, and the code that turns them into runs, configs, trainings and metrics."""
