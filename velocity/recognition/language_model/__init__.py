"""Word n-gram models with back-off: estimated from text, pruned, kept in one mapped file or as ARPA, and read."""
