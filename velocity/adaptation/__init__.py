"""A released model fitted to one person's speech: what ``velocity-asr adapt`` keeps apart, trains and judges."""
