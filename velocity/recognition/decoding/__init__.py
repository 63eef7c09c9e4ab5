"""From CTC log-posteriors to text: the best path or a beam search, and the words' times and confidences."""

from velocity.recognition.decoding.decoder import Decoder, Hypothesis
from velocity.recognition.decoding.greedy import best_path, greedy
from velocity.recognition.decoding.ngram import NGram
from velocity.recognition.decoding.segments import Segment, segments
from velocity.recognition.decoding.words import Word

__all__ = ["Decoder", "Hypothesis", "NGram", "Segment", "Word", "best_path", "greedy", "segments"]
