"""Benchmarks of planning, collecting, evaluation and loading images, measured beside a baseline or beside what suffices."""
