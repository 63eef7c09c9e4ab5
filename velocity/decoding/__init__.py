"""From CTC log-posteriors to text: the best path or a beam search, and the words' times and confidences."""

from velocity.decoding.decoder import Decoder, Hypothesis
from velocity.decoding.greedy import best_path, greedy
from velocity.decoding.ngram import NGram
from velocity.decoding.segments import Segment, segments
from velocity.decoding.words import Word

__all__ = ["Decoder", "Hypothesis", "NGram", "Segment", "Word", "best_path", "greedy", "segments"]
