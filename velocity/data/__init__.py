"""Manifests, cuts, shards, checks and batches of speech."""
