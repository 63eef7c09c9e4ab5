"""Tests of ``velocity.adaptation``, and a released model to adapt."""
