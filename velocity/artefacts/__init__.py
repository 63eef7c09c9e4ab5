"""What a trained model is exported as, and how each artefact is run."""
