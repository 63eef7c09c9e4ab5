"""Smaller models: relative-entropy pruning (Stolcke 1998) and values of eight bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from velocity.recognition.language_model.counts import selected
from velocity.recognition.language_model.file import file_size
from velocity.recognition.language_model.kneser_ney import Estimates
from velocity.recognition.language_model.tables import NEVER, Tables, Values

CODES = 256
LEAST = 1e-9  # of a probability, where rounding might leave less
CONTEXT = 9  # bytes in the file: its row, where its children begin, its back-off
LEVEL = 2800  # bytes at most in the file: codebooks, the header's entries, padding
STEPS = 24  # halvings of the interval of thresholds


def losses(model: Estimates) -> list[np.ndarray]:
    """For each length from two, (rows,) nats: the relative entropy per word of text if this n-gram alone were dropped.

    The probability of a history is its share of the text, because the lower orders of Kneser–Ney are not those of the
    text (Chelba et al. 2010).
    """
    words = model.counts[0].count.sum()
    found = []
    for n in range(1, len(model.counts)):
        counts, p = model.counts[n], model.probabilities[n]
        lower, prefix = model.probabilities[n - 1][counts.suffix], counts.prefix
        histories = len(model.counts[n - 1].count)
        rest = np.maximum(1 - np.bincount(prefix, weights=p, minlength=histories), 1e-12)
        lower_rest = np.maximum(1 - np.bincount(prefix, weights=lower, minlength=histories), 1e-12)
        before = rest / lower_rest
        after = (rest[prefix] + p) / (lower_rest[prefix] + lower)
        change = p * (np.log(lower * after) - np.log(p)) + rest[prefix] * (np.log(after) - np.log(before[prefix]))
        found.append(-model.counts[n - 1].count[prefix] / words * change)
    return found


def kept(model: Estimates, loss: Sequence[np.ndarray], threshold: float) -> list[np.ndarray]:
    """For each length, (rows,) bool: worth more than ``threshold``, or the beginning of one that is."""
    masks = [np.ones(len(model.counts[0].count), dtype=bool), *(each > threshold for each in loss)]
    for n in range(len(masks) - 1, 1, -1):
        masks[n - 1][model.counts[n].prefix[masks[n]]] = True
    return masks


def prune(model: Estimates, masks: Sequence[np.ndarray]) -> Tables:
    """Drop the n-grams outside ``masks``; what remains after each history is shared out by the shorter ones again."""
    counts, probabilities, shares = [model.counts[0]], [model.probabilities[0]], []
    pruned = model.probabilities[0]  # of all n-grams one shorter, by the model without those dropped
    number = np.arange(len(pruned), dtype=np.int32)  # old row one length below → new row
    for n in range(1, len(model.counts)):
        here, p, mask = model.counts[n], model.probabilities[n], masks[n]
        lower, histories = pruned[here.suffix], len(masks[n - 1])
        rest = 1 - np.bincount(here.prefix[mask], weights=p[mask], minlength=histories)
        lower_rest = 1 - np.bincount(here.prefix[mask], weights=lower[mask], minlength=histories)
        followed = np.bincount(here.prefix[mask], minlength=histories) > 0
        share = np.where(followed, np.maximum(rest, LEAST) / np.maximum(lower_rest, LEAST), 1.0)
        pruned = np.where(mask, p, share[here.prefix] * lower)
        shares.append(share[masks[n - 1]])
        counts.append(selected(here, mask, number))
        probabilities.append(p[mask])
        number = np.cumsum(mask, dtype=np.int64).astype(np.int32) - 1
    return replace(model, counts=counts, probabilities=probabilities, shares=shares).tables()


def fit(model: Estimates, size: Callable[[list[np.ndarray]], int], most: int) -> list[np.ndarray]:
    """The masks of the least pruned model whose ``size`` is at most ``most``, or of the unigrams alone."""
    loss = losses(model)
    positive = [each[each > 0] for each in loss]
    low = min((each.min() for each in positive if len(each)), default=1e-12)
    high = max((each.max() for each in positive if len(each)), default=1e-12)
    for _ in range(STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (low, middle) if size(kept(model, loss, middle)) <= most else (middle, high)
    return kept(model, loss, high)


def pruned_size(model: Estimates) -> Callable[[list[np.ndarray]], int]:
    """A function of masks: the bytes that the file of the quantised model takes, or a little more."""
    ids = 2 if len(model.words) <= 1 << 16 else 4
    alone = replace(model, counts=model.counts[:1], probabilities=model.probabilities[:1], shares=[])
    unigrams = file_size(quantise(alone.tables()))

    def size(masks: list[np.ndarray]) -> int:
        total = unigrams
        for n in range(1, len(masks)):
            prefixes = np.zeros(len(masks[n - 1]), dtype=bool)
            prefixes[model.counts[n].prefix[masks[n]]] = True
            total += LEVEL + int(masks[n].sum()) * (ids + 1) + int(prefixes.sum()) * CONTEXT
        return total

    return size


def quantise(tables: Tables) -> Tables:
    """Eight bits a value: for each length 256 evenly spaced probabilities and back-offs, at most half a step wrong.

    Codebooks of Lloyd's algorithm cost 3 % of perplexity here, by the few frequent words, and these nothing.
    """
    levels = [
        replace(level, log_probs=_coded(level.log_probs), backoffs=_coded(level.backoffs)) for level in tables.levels
    ]
    return replace(tables, levels=levels)


def _coded(values: Values) -> Values:
    exact = values.decoded()
    possible = exact[exact > NEVER / 2]  # <s> is never predicted, and would widen the steps
    low, high = (possible.min(), possible.max()) if len(possible) else (0.0, 0.0)
    book = np.linspace(low, high, CODES).astype(np.float32)
    return Values(np.searchsorted((book[1:] + book[:-1]) / 2, exact).astype(np.uint8), book)
