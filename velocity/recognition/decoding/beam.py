"""CTC prefix beam search: the labellings with the highest probability over all their paths, or with the best score if a
language model and hot words contribute (Graves & Jaitly 2014, algorithm 1; Hannun et al. 2014, "First-pass large
vocabulary continuous speech recognition using bi-directional recurrent DNNs").

Paths with the same labels share one prefix. A prefix keeps separate probabilities for its paths that end in the blank
and for those that end in its last label, because only the former can repeat that label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from velocity.recognition.decoding.fusion import TextFusion

TOKENS = 12  # classes per frame by which prefixes are extended
FLOOR = -7.0  # natural logarithm: less probable classes of a frame are skipped
SPARED = 1.0  # natural logarithm: what fusion may add for a label at most, for all that the search assumes
MARGIN = 10.0  # natural logarithm: prefixes worse than the best one by this much are dropped


@dataclass(frozen=True)
class Labelling:
    tokens: list[int]
    score: float  # log-probability, summed over all paths that were kept, plus the bonus of fusion


class Prefix:
    """A node of the tree of prefixes."""

    __slots__ = ("bonus", "children", "context", "future", "loan", "parent", "place", "token")

    def __init__(self, parent: Prefix | None, token: int, fusion: TextFusion | None) -> None:
        self.parent, self.token = parent, token
        self.context: Any = None
        self.bonus, self.loan, self.future = 0.0, 0.0, None
        if fusion:
            self.context = fusion.start() if parent is None else fusion.extend(parent.context, token)
            self.bonus, self.loan, self.future = self.context.bonus, self.context.loan, self.context.future
        self.children: dict[int, Prefix] = {}
        self.place = -1  # among the prefixes that are left; -1 if it is not

    def labels(self) -> list[int]:
        tokens, node = [], self
        while node.parent is not None:
            tokens.append(node.token)
            node = node.parent
        return tokens[::-1]


class PrefixBeamSearch:
    """A search that takes frames piece by piece: how they are divided changes nothing.

    Nothing is pruned, and the probabilities are exact, if ``beam``, ``tokens`` and ``margin`` are large enough and
    ``floor`` is minus infinity. Where there are more prefixes than ``beam``, only the ``alike`` best of those that
    fusion cannot tell apart in what follows are kept (recombination). Memory grows with the frames: use it for up to a
    minute or so.
    """

    def __init__(
        self,
        blank: int,
        beam: int,
        fusion: TextFusion | None = None,
        tokens: int = TOKENS,
        floor: float = FLOOR,
        margin: float = MARGIN,
        alike: int = 1,
    ) -> None:
        self._blank, self._beam, self._fusion, self._alike = blank, beam, fusion, alike
        self._tokens, self._floor, self._margin = tokens, floor, margin
        self._scale = 0.0
        self._keep([Prefix(None, blank, fusion)], np.ones(1), np.zeros(1))

    def _keep(self, prefixes: list[Prefix], in_blank: np.ndarray, in_token: np.ndarray) -> None:
        """``in_blank`` and ``in_token``, (prefixes,): the probabilities of the paths that end so, times a scale."""
        self._prefixes, self._in_blank, self._in_token = prefixes, in_blank, in_token
        self._last = np.array([prefix.token for prefix in prefixes])
        self._bonus = np.array([prefix.bonus for prefix in prefixes])
        self._loan = np.array([prefix.loan for prefix in prefixes])
        for place, prefix in enumerate(prefixes):
            prefix.place = place

    def accept(self, log_probs: np.ndarray) -> None:
        """The next (frames, V) log-posteriors."""
        chosen = candidates(log_probs, self._blank, self._tokens, self._floor)
        blanks = np.exp(log_probs[:, self._blank].astype(np.float64)).tolist()
        for blank, (classes, probabilities) in zip(blanks, chosen, strict=True):
            if len(classes):
                self._step(blank, classes, probabilities, log_probs.shape[1])
            else:  # no prefix grows and their order stays
                self._in_blank, self._in_token = self._in_blank + self._in_token, np.zeros(len(self._prefixes))
                self._scale += math.log(max(blank, 1e-300))

    def _step(self, blank: float, classes: np.ndarray, probabilities: np.ndarray, count: int) -> None:
        prefixes, last, in_blank, in_token = self._prefixes, self._last, self._in_blank, self._in_token
        column = np.full(count, -1)
        column[classes] = np.arange(len(classes))
        probability = np.zeros(count)
        probability[classes] = probabilities

        in_any = in_blank + in_token
        next_blank, next_token = in_any * blank, in_token * probability[last]  # (prefixes,)
        mass = in_any[:, None] * probabilities  # (prefixes, classes): of prefixes that are longer by one label
        repeated = np.flatnonzero(column[last] >= 0)
        mass[repeated, column[last[repeated]]] = in_blank[repeated] * probability[last[repeated]]
        parents = np.array([prefix.parent.place if prefix.parent else -1 for prefix in prefixes])
        there = repeated[parents[repeated] >= 0]  # prefixes longer by one that are there already
        next_token[there] += mass[parents[there], column[last[there]]]
        mass[parents[there], column[last[there]]] = 0.0

        with np.errstate(divide="ignore"):
            ranks = np.log(next_blank + next_token) + self._bonus - self._loan
            estimates = np.log(mass) + self._bonus[:, None] + SPARED
        least = -math.inf
        if len(prefixes) + np.count_nonzero(mass) > self._beam and self._margin < math.inf:
            every = np.concatenate([ranks, estimates.ravel()])
            least = -np.partition(-every, self._beam - 1)[self._beam - 1]
        rows, columns = np.nonzero(((estimates >= least) | self._loan.any()) & (mass > 0.0))
        reached = list(prefixes)
        for row, token in zip(rows.tolist(), classes[columns].tolist(), strict=True):
            parent = prefixes[row]
            child = parent.children.get(token)
            if child is None:
                child = parent.children[token] = Prefix(parent, token, self._fusion)
            reached.append(child)

        next_blank = np.concatenate([next_blank, np.zeros(len(rows))])
        next_token = np.concatenate([next_token, mass[rows, columns]])
        total = next_blank + next_token
        bonus = np.concatenate([self._bonus, [child.bonus for child in reached[len(prefixes) :]]])
        with np.errstate(divide="ignore"):
            ranks = np.log(total) + bonus
        kept = self._best(reached, ranks)
        loans = np.array([prefix.loan for prefix in reached])
        if loans.any():  # prefixes with loans must not crowd out those without
            kept = list(dict.fromkeys(kept + self._best(reached, ranks - loans)))
        most = total.max()
        for prefix in prefixes:
            prefix.place = -1
        self._keep([reached[index] for index in kept], next_blank[kept] / most, next_token[kept] / most)
        self._scale += math.log(most)

    def _best(self, prefixes: list[Prefix], ranks: np.ndarray) -> list[int]:
        """The indices of those to keep, best first."""
        order = np.argsort(-ranks, kind="stable")
        order = order[ranks[order] > ranks[order[0]] - self._margin].tolist()
        if self._fusion is None or len(order) <= self._beam:
            return order[: self._beam]
        kept: list[int] = []
        seen: dict[Any, int] = {}
        for index in order:
            future = prefixes[index].future
            seen[future] = seen.get(future, 0) + 1
            if seen[future] <= self._alike:
                kept.append(index)
                if len(kept) == self._beam:
                    break
        return kept

    def labellings(self) -> list[Labelling]:
        """Of the frames so far, as if they were all, best first."""
        found = []
        for prefix, probability in zip(self._prefixes, (self._in_blank + self._in_token).tolist(), strict=True):
            bonus = self._fusion.finish(prefix.context) if self._fusion else 0.0
            found.append(Labelling(prefix.labels(), self._scale + math.log(probability) + bonus))
        return sorted(found, key=attrgetter("score"), reverse=True)


def candidates(log_probs: np.ndarray, blank: int, tokens: int, floor: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each frame, the classes that are probable enough, without the blank, and their probabilities."""
    labels = np.array(log_probs, dtype=np.float64)  # (frames, V)
    labels[:, blank] = -np.inf
    if tokens < labels.shape[1]:
        order = np.argpartition(-labels, tokens, axis=1)[:, :tokens]  # (frames, tokens)
        order.sort(axis=1)  # so that ties have the same order in every NumPy version
    else:
        order = np.broadcast_to(np.arange(labels.shape[1]), labels.shape)
    chosen = np.take_along_axis(labels, order, axis=1)
    # If the blank is improbable, the best class must stay, however flat the distribution.
    least = np.minimum(floor, np.where(log_probs[:, blank] < floor, chosen.max(axis=1), floor))
    kept = (chosen >= least[:, None]) & (chosen > -np.inf)
    probabilities = np.exp(chosen)
    return ((classes[mask], values[mask]) for classes, values, mask in zip(order, probabilities, kept, strict=True))
