"""Quantisation-aware training of linear layers, and the ranges of the INT8 model."""
