"""From CTC log-posteriors to text: the best path or a beam search, and the words' times and confidences."""
