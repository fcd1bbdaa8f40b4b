"""Benchmarks of planning, collecting and evaluation, each measured beside a baseline."""
