"""Word n-gram models with back-off: estimated from text, pruned, kept in one memory-mapped file or as ARPA, and read."""
