"""The denominator of maximum mutual information: all that might have been said, weighed by an n-gram model of phones.

CTC makes the right labelling probable; MMI makes it more probable than every other one (Povey et al. 2016, "Purely
sequence-trained neural networks for ASR based on lattice-free MMI"; on CTC's topology Xiang & Ou 2019, "CRF-based
single-stage acoustic modeling with CTC topology"). It is summed over all paths exactly: a state is the last two labels,
and whether the last frame was blank.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

TINY = 1e-30  # posteriors below count as this: the sums are of 32 bits


class Denominator(nn.Module):
    """What ``weight`` of maximum mutual information adds to the CTC loss; CTC's numerator is MMI's as well.

    ``trigrams`` (classes, classes, classes): ln P(class | the two before it), estimated on ``labellings`` and
    interpolated with shorter histories (Witten & Bell 1991). Class 0, CTC's blank, is none: as history the beginning,
    as what follows the end.
    """

    def __init__(self, weight: float, labellings: Iterable[Sequence[int]], classes: int) -> None:
        super().__init__()
        self.weight = weight
        counts = torch.zeros(classes, classes, classes, dtype=torch.float64)
        for triple, count in Counter(_triples(labellings)).items():
            counts[triple] = count
        probs = torch.full((classes,), 1 / classes, dtype=torch.float64)
        for table in (counts.sum((0, 1)), counts.sum(0), counts):
            kinds = (table > 0).sum(-1, keepdim=True).clamp(min=1)  # of labels seen: what goes to the shorter history
            probs = (table + kinds * probs) / (table.sum(-1, keepdim=True) + kinds)
        self.register_buffer("trigrams", probs.log().float(), persistent=False)

    def forward(self, log_posteriors: Tensor, lengths: Tensor, labels: Tensor, label_lengths: Tensor) -> Tensor:
        """Log posteriors (b, l, classes) float32, lengths (b,) of them; labels (b, longest), lengths (b,) of them →
        scalar, mean over utterances of nats per label: what all labellings have together, less the true one's prior.

        An utterance too short for its labels adds nothing, as to CTC.
        """
        every = log_partition(log_posteriors, lengths, self.trigrams)
        repeated = ((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] > 0)).sum(1)  # need a blank in between
        fits = label_lengths + repeated <= lengths
        excess = (every - self.prior(labels, label_lengths)) / label_lengths.clamp(min=1)
        return self.weight * (excess * fits).mean()

    def prior(self, labels: Tensor, lengths: Tensor) -> Tensor:
        """Labels (b, longest) padded with zeros, lengths (b,) → their log-probabilities with the end (b,) float32."""
        padded = nn.functional.pad(labels, (2, 1))  # (b, longest + 3)
        each = self.trigrams[padded[:, :-2], padded[:, 1:-1], padded[:, 2:]]  # (b, longest + 1)
        return (each * (torch.arange(each.size(1), device=labels.device) <= lengths.unsqueeze(1))).sum(1)


def _triples(labellings: Iterable[Sequence[int]]) -> Iterator[tuple[int, int, int]]:
    for labels in labellings:
        padded = [0, 0, *labels, 0]
        yield from zip(padded, padded[1:], padded[2:], strict=False)


def log_partition(log_posteriors: Tensor, lengths: Tensor, trigrams: Tensor) -> Tensor:
    """ln Σ P(path | audio) · P(labelling of the path) over all paths of CTC (b,).

    ``log_posteriors`` (b, l, classes) float32, blank first; ``lengths`` (b,); ``trigrams`` as of ``Denominator``.
    """
    with torch.autocast(log_posteriors.device.type, enabled=False):
        return _LogPartition.apply(log_posteriors, lengths, trigrams)


class _LogPartition(torch.autograd.Function):
    """Forward-backward. The gradient of a sum over paths is how often they are expected to pass by."""

    @staticmethod
    def forward(ctx: Any, log_posteriors: Tensor, lengths: Tensor, trigrams: Tensor) -> Tensor:
        follows, again, end = _tables(trigrams)
        posteriors = log_posteriors.exp().clamp(min=TINY).permute(1, 2, 0).contiguous()  # (l, classes, b)
        frames, classes, utterances = posteriors.shape
        # After each frame, by the last label h, the utterance and the label g before it, relative to their sum.
        blank, label = posteriors.new_zeros(2, frames + 1, classes, utterances, classes)
        blank[0, 0, :, 0] = 1.0
        log_sum = posteriors.new_zeros(utterances)
        for t in range(frames):
            either = blank[t] + label[t]  # (h, b, g)
            arrive = torch.bmm(either, follows)  # (h, b, k): another label
            arrive.diagonal(dim1=0, dim2=2).add_((blank[t] * again).sum(-1).T)  # the same after blank
            torch.mul(label[t] + arrive.permute(2, 1, 0), posteriors[t].unsqueeze(-1), out=label[t + 1])
            torch.mul(either, posteriors[t, 0].unsqueeze(-1), out=blank[t + 1])
            scale = blank[t + 1].sum((0, 2)) + label[t + 1].sum((0, 2))  # (b,)
            over = t >= lengths
            log_sum += torch.where(over, 0.0, scale.log())
            blank[t + 1] /= scale.unsqueeze(-1)
            label[t + 1] /= scale.unsqueeze(-1)
            if over.any():
                blank[t + 1, :, over], label[t + 1, :, over] = blank[t, :, over], label[t, :, over]
        ctx.save_for_backward(posteriors, lengths, trigrams, blank, label)
        return log_sum + ((blank[-1] + label[-1]) * end).sum((0, 2)).log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        posteriors, lengths, trigrams, blank, label = ctx.saved_tensors
        follows, again, end = _tables(trigrams)
        back = follows.transpose(1, 2).contiguous()  # (h, k, g)
        occupancy = torch.zeros_like(posteriors)  # (l, classes, b)
        # What may still come after a frame, by its state, relative to its sum: the end is the same after both.
        after_blank = end.expand_as(blank[0]).clone()
        after_label = after_blank.clone()
        for t in range(posteriors.size(0) - 1, -1, -1):
            passed = (label[t + 1] * after_label).sum(-1)  # (h, b)
            passed[0] = (blank[t + 1] * after_blank).sum((0, 2))
            occupancy[t] = passed / passed.sum(0)
            blank_in = after_blank * posteriors[t, 0].unsqueeze(-1)  # (h, b, g)
            label_in = after_label * posteriors[t].unsqueeze(-1)  # (k, b, h)
            leave = blank_in + torch.bmm(label_in.permute(2, 1, 0), back)  # (h, b, g)
            same = label_in.diagonal(dim1=0, dim2=2).T  # (h, b)
            earlier_blank, earlier_label = leave + again * same.unsqueeze(-1), leave + label_in
            scale = (earlier_blank.sum((0, 2)) + earlier_label.sum((0, 2))).unsqueeze(-1)
            over = (t >= lengths).unsqueeze(-1)
            after_blank = torch.where(over, after_blank, earlier_blank / scale)
            after_label = torch.where(over, after_label, earlier_label / scale)
        counts = torch.arange(occupancy.size(0), device=lengths.device).unsqueeze(-1) < lengths  # (l, b)
        return (occupancy * (counts * gradient).unsqueeze(1)).permute(2, 0, 1), None, None


def _tables(trigrams: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of P(k | g, h): what another label follows (h, g, k), the same again (h, 1, g), and the end (h, 1, g)."""
    probs = trigrams.exp().transpose(0, 1).contiguous()  # (h, g, k)
    end, again = probs[:, :, 0].clone(), probs.diagonal(dim1=0, dim2=2).T.clone()
    probs[:, :, 0] = 0.0
    probs.diagonal(dim1=0, dim2=2).zero_()
    again[0] = 0.0
    return probs, again.unsqueeze(1), end.unsqueeze(1)
