"""Checks of GPUs and disk before trainings are submitted."""
