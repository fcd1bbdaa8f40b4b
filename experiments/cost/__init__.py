"""What a model costs: parameters, multiply-adds, memory, frames per second, training time."""
