"""What is run: studies as data, and the code that turns them into runs, configs, trainings and metrics."""

import os

# mmdetection imports albumentations where it is installed, which would ask the internet for its newest version.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
