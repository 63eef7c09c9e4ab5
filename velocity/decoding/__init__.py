"""From CTC log-posteriors to text: the best path, and the times of its words."""

from velocity.decoding.greedy import best_path, greedy
from velocity.decoding.segments import Segment, segments

__all__ = ["Segment", "best_path", "greedy", "segments"]
