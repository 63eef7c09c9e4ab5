"""One module per family of targets; each names its targets in ``TARGETS``."""
