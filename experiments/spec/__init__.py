"""What a run is: study, row, setting, scale, seed, the identity made of them, and its sources; never imports torch."""
