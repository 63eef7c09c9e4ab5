"""CTC prefix beam search: the labellings with the highest probability over all their paths, or with the best score if a
language model and hot words contribute (Graves & Jaitly 2014, algorithm 1; Hannun et al. 2014, "First-pass large
vocabulary continuous speech recognition using bi-directional recurrent DNNs").

Paths with the same labels share one prefix. A prefix keeps separate probabilities for its paths that end in the blank
and for those that end in its last label, because only the former can repeat that label.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Protocol

import numpy as np

TOKENS = 12  # classes per frame by which prefixes are extended
FLOOR = -7.0  # natural logarithm: less probable classes of a frame are skipped
SPARED = 1.0  # natural logarithm: new prefixes this much below the beam, before fusion scores their label, are kept
MARGIN = 10.0  # natural logarithm: prefixes worse than the best one by this much are dropped


class Context(Protocol):
    """The state of fusion for a prefix. ``bonus`` is what it adds to the prefix's score (natural logarithm), ``loan``
    the part that is taken back if a phrase is not completed."""

    bonus: float
    loan: float


class Fusion(Protocol):
    """Scores of labels from other sources than the audio."""

    def start(self) -> Context: ...

    def extend(self, context: Context, token: int) -> Context: ...

    def finish(self, context: Context) -> float:
        """The final bonus if the utterance ends here."""
        ...


@dataclass(frozen=True)
class Labelling:
    tokens: list[int]
    first: list[int]  # the frame in which each token appeared in the search: about that of its sound
    log_prob: float  # sum over all paths that were kept
    score: float  # log_prob plus the bonus of fusion


class Prefix:
    """A node of the tree of prefixes. Probabilities are relative to a scale shared by all prefixes."""

    __slots__ = ("bonus", "children", "context", "first", "frame", "in_blank", "in_token", "loan", "next_blank",
                 "next_token", "parent", "rank", "token", "weight")  # fmt: skip

    def __init__(self, parent: Prefix | None, token: int, context: Context | None, first: int) -> None:
        self.parent, self.token, self.context = parent, token, context
        self.bonus, self.loan = (context.bonus, context.loan) if context is not None else (0.0, 0.0)
        self.children: dict[int, Prefix] = {}
        self.in_blank = self.in_token = self.next_blank = self.next_token = self.rank = 0.0
        self.first = first  # the frame in which its last label appeared
        self.frame = -1  # the frame of next_blank and next_token

    def labels(self) -> tuple[list[int], list[int]]:
        """Its tokens, and the frame in which each of them appeared."""
        path, node = [], self
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return [node.token for node in reversed(path)], [node.first for node in reversed(path)]


class PrefixBeamSearch:
    """The search of ``prefix_beam_search``, frames by frames: how they are divided changes nothing."""

    def __init__(
        self,
        blank: int,
        beam: int,
        fusion: Fusion | None = None,
        tokens: int = TOKENS,
        floor: float = FLOOR,
        margin: float = MARGIN,
    ) -> None:
        self._blank, self._beam, self._fusion = blank, beam, fusion
        self._tokens, self._floor, self._margin = tokens, floor, margin
        root = Prefix(None, blank, fusion.start() if fusion else None, -1)
        root.in_blank = 1.0
        self._prefixes, self._scale, self._frames = [root], 0.0, 0

    def accept(self, log_probs: np.ndarray) -> None:
        """The next (frames, V) log-posteriors."""
        beam, fusion, margin = self._beam, self._fusion, self._margin
        prefixes, scale = self._prefixes, self._scale
        spared = math.exp(-SPARED) if margin < math.inf else 0.0
        by_rank = attrgetter("rank")

        def without_loan(prefix: Prefix) -> float:
            return prefix.rank - prefix.loan

        blanks = np.exp(log_probs[:, self._blank].astype(np.float64)).tolist()
        frames = zip(blanks, _candidates(log_probs, self._blank, self._tokens, self._floor), strict=True)
        for frame, (in_blank, candidates) in enumerate(frames, start=self._frames):
            if not candidates:  # no prefix grows and their order stays
                for prefix in prefixes:
                    prefix.in_blank, prefix.in_token = prefix.in_blank + prefix.in_token, 0.0
                scale += math.log(max(in_blank, 1e-300))
                continue
            probability = dict(candidates)
            reached = list(prefixes)
            highest = max(prefix.bonus for prefix in prefixes)
            estimates, growths, lent = [], [], False
            for prefix in prefixes:
                prefix.frame = frame
                prefix.next_blank = (prefix.in_blank + prefix.in_token) * in_blank
                prefix.next_token = prefix.in_token * probability.get(prefix.token, 0.0)
                prefix.weight = math.exp(prefix.bonus - highest)
                estimates.append((prefix.next_blank + prefix.next_token) * prefix.weight)
                lent = lent or prefix.loan > 0.0
            for prefix in prefixes:
                in_any, last, weight = prefix.in_blank + prefix.in_token, prefix.token, prefix.weight
                children = prefix.children
                for token, p in candidates:
                    mass = (prefix.in_blank if token == last else in_any) * p
                    child = children.get(token)
                    if child is not None and child.frame == frame:
                        child.next_token += mass
                    elif mass > 0.0:
                        estimates.append(mass * weight)
                        growths.append((mass * weight, mass, prefix, token, child))
            least = 0.0
            if len(estimates) > beam and not lent:
                estimates.sort(reverse=True)
                least = estimates[beam - 1] * spared
            for estimate, mass, prefix, token, child in growths:
                if estimate < least:
                    continue
                if child is None:
                    child = Prefix(prefix, token, fusion.extend(prefix.context, token) if fusion else None, frame)
                    prefix.children[token] = child
                child.frame, child.next_blank, child.next_token = frame, 0.0, mass
                reached.append(child)
            most = 0.0
            for prefix in reached:
                mass = prefix.next_blank + prefix.next_token
                prefix.rank = math.log(mass) + prefix.bonus if mass > 0.0 else -math.inf
                most = max(most, mass)
                lent = lent or prefix.loan > 0.0
            prefixes = _best(reached, by_rank, beam, margin)
            if lent:  # prefixes with loans must not crowd out those without
                prefixes = list(dict.fromkeys(prefixes + _best(reached, without_loan, beam, margin)))
            for prefix in prefixes:
                prefix.in_blank, prefix.in_token = prefix.next_blank / most, prefix.next_token / most
            scale += math.log(most)
        self._prefixes, self._scale, self._frames = prefixes, scale, self._frames + len(log_probs)

    def labellings(self, most: int | None = None) -> list[Labelling]:
        """Of the frames so far, as if they were all: the ``most`` best ones, or all that are left."""
        found = []
        for prefix in self._prefixes:
            log_prob = self._scale + math.log(prefix.in_blank + prefix.in_token)
            found.append((log_prob + (self._fusion.finish(prefix.context) if self._fusion else 0), log_prob, prefix))
        found.sort(key=itemgetter(0), reverse=True)
        return [Labelling(*prefix.labels(), log_prob, score) for score, log_prob, prefix in found[:most]]


def prefix_beam_search(
    log_probs: np.ndarray,
    blank: int,
    beam: int,
    fusion: Fusion | None = None,
    tokens: int = TOKENS,
    floor: float = FLOOR,
    margin: float = MARGIN,
) -> list[Labelling]:
    """(frames, V) log-posteriors → at most ``beam`` labellings, twice as many if fusion grants loans, best first.

    Nothing is pruned, and the probabilities are exact, if ``beam``, ``tokens`` and ``margin`` are large enough and
    ``floor`` is minus infinity. Memory grows with the frames: use it for up to a minute or so.
    """
    search = PrefixBeamSearch(blank, beam, fusion, tokens, floor, margin)
    search.accept(log_probs)
    return search.labellings()


def _best(prefixes: list[Prefix], value: Callable[[Prefix], float], beam: int, margin: float) -> list[Prefix]:
    ranked = sorted(prefixes, key=value, reverse=True)[:beam]
    worst = value(ranked[0]) - margin
    while value(ranked[-1]) <= worst:
        ranked.pop()
    return ranked


def _candidates(log_probs: np.ndarray, blank: int, tokens: int, floor: float) -> list[list[tuple[int, float]]]:
    """For each frame, the (class, probability) pairs that are probable enough, without the blank."""
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
    return [
        list(zip(classes[mask].tolist(), values[mask].tolist(), strict=True))
        for classes, values, mask in zip(order, probabilities, kept, strict=True)
    ]
