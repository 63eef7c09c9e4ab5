"""Speech to text with an exported model: whole recordings (``offline``), live sound (``streaming``), decoding."""
