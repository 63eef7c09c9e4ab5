"""Audio files and arrays → samples: to the true end of the audio, whatever its header claims."""
