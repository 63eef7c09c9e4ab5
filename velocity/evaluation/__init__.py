"""Measuring a recogniser: error rates with their uncertainty, parity of the artefacts, speed, and the report of it."""
