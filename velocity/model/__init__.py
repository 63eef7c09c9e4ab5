"""The acoustic model in PyTorch: ``VelocityModel`` and its parts."""
