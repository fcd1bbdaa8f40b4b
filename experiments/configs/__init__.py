"""Runs as mmengine configs: where mmdetection's config keys are written."""
