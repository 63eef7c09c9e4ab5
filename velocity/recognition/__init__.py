"""Speech to text with an exported model: recordings (``offline``), live audio (``streaming``), ``decoding``."""
