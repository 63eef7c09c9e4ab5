"""What a model is trained for: each objective is a module whose ``forward`` gives the loss of a batch."""
