"""What a run is: study, row, setting, scale, seed, the identity made of them, and the source files behind it; never imports torch."""
