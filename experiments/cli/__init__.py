"""The commands of python -m experiments: plan, status, check-data, check-neck, compare, convert, warm-up."""
