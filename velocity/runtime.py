"""Names for applications. Models registered in MLflow contain code that imports them from here."""

from velocity.recognition.offline import Passage, VelocityASR, find_model

__all__ = ["Passage", "VelocityASR", "find_model"]
