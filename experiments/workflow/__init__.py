"""The grid of a configuration, and the answers that the Snakefile asks of it; never imports torch."""
