"""The search for words in log-posteriors of phones: token passing (Young, Russell & Thornton 1989) through the tree of
a lexicon, with CTC's blanks and repetitions, a language model and hot words.

A path is at a node of the tree, after a history of complete words. Paths at the same place get the same from whatever
follows, so they are merged: their probabilities are added, and the better one's words are kept. As in a prefix beam
search, those that end in the blank and those that end in their last phone are told apart, because only the former can
repeat that phone.
"""

from __future__ import annotations

import math
import sys
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.recognition.decoding.beam import MARGIN, TOKENS, candidates
from velocity.recognition.decoding.vocabulary import NO_WORD, Vocabulary
from velocity.recognition.language_model.lexicon import NOWHERE, ROOT

FLOOR = -5.0  # natural logarithm: less probable classes of a frame are skipped
UNKNOWN_PHONE = -2.0  # nats for each phone of what is no word, so that one "word" does not swallow a sentence
NOTHING, STAYED = -2, -3  # in place of a word's id: no word ends here; nor is there a new label
AGREEMENT = 2.0  # nats
BITS = 6  # of a class in a place's key


class Result(NamedTuple):
    """``words``: ids of the vocabulary, NO_WORD for phones that are no word's. ``entry``: of the last label."""

    score: float
    words: tuple[int, ...]
    entry: int


class Paths(NamedTuple):
    """(paths,) each. ``blank`` and ``label``: the probabilities of the paths that end so, times what their complete
    words and phones of no word are worth, and a scale. ``loan``: that of hot words. ``entry``: of the last label in the
    trace; of a path whose ``word`` is not STAYED, of the one before."""

    place: np.ndarray  # history, node and last label
    blank: np.ndarray
    label: np.ndarray
    loan: np.ndarray
    entry: np.ndarray
    word: np.ndarray

    def take(self, chosen: np.ndarray) -> Paths:
        return Paths(*(column[chosen] for column in self))


class Trace:
    """For each label that a path got: the entry before it, its class, its frame, and the word that it ends, if any.
    Entry 0 is the beginning."""

    def __init__(self) -> None:
        self.before, self.label, self.frame, self.word = [0], [BLANK], [-1], [NOTHING]
        self._ended = [0]  # the last entry up to this one that ends a word

    def __len__(self) -> int:
        return len(self.before)

    def add(self, before: list[int], labels: list[int], frame: int, words: list[int]) -> None:
        count = len(self.before)
        self.before += before
        self.label += labels
        self.frame += [frame] * len(before)
        self.word += words
        self._ended += [
            self._ended[entry] if word == NOTHING else count + number
            for number, (entry, word) in enumerate(zip(before, words, strict=True))
        ]

    def labels(self, entry: int) -> tuple[list[int], list[int]]:
        """The classes up to ``entry``, and their frames."""
        entries = []
        while entry:
            entries.append(entry)
            entry = self.before[entry]
        return [self.label[entry] for entry in reversed(entries)], [self.frame[entry] for entry in reversed(entries)]

    def words(self, entry: int) -> tuple[int, ...]:
        found = []
        while entry := self._ended[entry]:
            found.append(self.word[entry])
            entry = self.before[entry]
        return tuple(reversed(found))


class PhoneSearch:
    """Takes frames piece by piece: how they are divided changes nothing.

    Nothing is pruned, and the scores are exact, if ``beam``, ``tokens`` and ``margin`` are large enough and ``floor``
    is minus infinity. With ``alike`` above 1, for alternatives, up to so many different histories are kept that the
    language model and the hot words cannot tell apart. Memory grows with the frames: use it for up to a minute or so.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        beam: int,
        alike: int = 1,
        tokens: int = TOKENS,
        floor: float = FLOOR,
        margin: float = MARGIN,
    ) -> None:
        self._vocabulary, self._beam, self._alike = vocabulary, beam, alike
        self._tokens, self._floor, self._margin = tokens, floor, margin
        self._tree, self._ahead = vocabulary.lexicon.tree, vocabulary.ahead
        self._bits = BITS + len(self._ahead).bit_length()  # of a node and a label in a place
        self._histories = [vocabulary.start()]
        self._numbers = {self._histories[0]: 0}  # history → the first of its numbers
        self._steps: dict[tuple[int, int], tuple[int, float]] = {}  # history, word → the history after it, its worth
        self._trace, self._frames, self._scale = Trace(), 0, 0.0
        nothing, none = np.zeros(1), np.zeros(1, dtype=np.int64)
        self._paths = Paths(self._place(none, none, BLANK), np.ones(1), nothing, nothing, none, none)

    def _place(self, history: np.ndarray, node: np.ndarray | int, label: np.ndarray | int) -> np.ndarray:
        return history << self._bits | (node + 1) << BITS | label

    def _parts(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(history, node, label)."""
        return place >> self._bits, ((place & (1 << self._bits) - 1) >> BITS) - 1, place & (1 << BITS) - 1

    def accept(self, log_probs: np.ndarray) -> None:
        """The next (frames, CLASSES) log-posteriors."""
        chosen = candidates(log_probs, BLANK, self._tokens, self._floor)
        blanks = np.exp(log_probs[:, BLANK].astype(np.float64)).tolist()
        for blank, (classes, probabilities) in zip(blanks, chosen, strict=True):
            if len(classes):
                self._step(blank, classes, probabilities)
            else:  # no path grows and their order stays
                paths = self._paths
                self._paths = paths._replace(blank=paths.blank + paths.label, label=np.zeros(len(paths.label)))
                self._scale += math.log(max(blank, 1e-300))
            self._frames += 1

    def _step(self, blank: float, classes: np.ndarray, probabilities: np.ndarray) -> None:
        paths, ends = self._paths, int(classes[0] == BOUNDARY)
        history, node, last = self._parts(paths.place)
        probability = np.zeros(CLASSES)
        probability[classes] = probabilities
        either = paths.blank + paths.label
        in_blank, in_label = either * blank, paths.label * probability[last]
        with np.errstate(divide="ignore"):
            ranks = np.log(in_blank + in_label) + self._ahead[node]
            in_any, repeatable = np.log(either)[:, None], np.log(paths.blank)[:, None]
        mass = np.where(last[:, None] == classes, repeatable, in_any) + np.log(probabilities)  # (paths, classes)

        phones = classes[ends:]
        longer = self._tree.longer(node, phones)  # (paths, phones)
        value = mass[:, ends:] + np.where(longer == NOWHERE, UNKNOWN_PHONE * (self._tree.depth[node] + 1)[:, None], 0.0)
        estimates = value + self._ahead[longer]
        every = [ranks, estimates.ravel()]
        if ends:
            source, word, worth, hot = self._words(node)
            complete = mass[source, 0] + worth
            every.append(complete)
        least = self._least(np.concatenate(every))

        loan = self._lent(history, longer)
        rows, columns = np.nonzero(estimates + loan >= least)
        place = self._place(history[rows], longer[rows, columns], phones[columns])
        nothing = np.full(len(rows), NOTHING)
        grown = [self._grown(place, value[rows, columns], loan[rows, columns], rows, nothing)]
        if ends:
            chosen = np.flatnonzero((complete >= least) | hot & (complete > -math.inf))
            source, word = source[chosen], word[chosen]
            after, worth = self._after(history[source], node[source], word)
            loan = self._lent(after, np.full((len(source), 1), ROOT))[:, 0]
            grown.append(self._grown(self._place(after, ROOT, BOUNDARY), mass[source, 0] + worth, loan, source, word))
        stayed = paths._replace(blank=in_blank, label=in_label, word=np.full(len(node), STAYED))
        self._keep(Paths(*map(np.concatenate, zip(stayed, *grown, strict=True))))

    def _grown(
        self, place: np.ndarray, mass: np.ndarray, loan: np.ndarray, source: np.ndarray, word: np.ndarray
    ) -> Paths:
        """Paths that are longer than those at ``source`` by one label. ``mass``: the logarithm of theirs."""
        return Paths(place, np.zeros(len(place)), np.exp(mass), loan, self._paths.entry[source], word)

    def _words(self, node: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """For each word that may end at a path's node, or NO_WORD, or NOTHING between words: the path, the word, its
        worth by its unigram, and whether hot words may reward it."""
        vocabulary, count = self._vocabulary, self._tree.rows[node]
        times = np.maximum(count, 1)
        source = np.repeat(np.arange(len(node)), times)
        row = self._tree.row[node[source]] + np.arange(len(source)) - np.repeat(np.cumsum(times) - times, times)
        is_word, between = count[source] > 0, node[source] == ROOT
        word = np.where(is_word, vocabulary.lexicon.words[row], np.where(between, NOTHING, NO_WORD))
        no_word = self._ahead[NOWHERE] + UNKNOWN_PHONE * self._tree.depth[node[source]]
        worth = np.where(is_word, vocabulary.alone[row], np.where(between, 0.0, no_word))
        return source, word, worth, is_word & vocabulary.hot[row]

    def _after(self, history: np.ndarray, node: np.ndarray, word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The histories after words that end at these nodes, and what the words are worth."""
        found = [self._next(*each) for each in zip(history.tolist(), word.tolist(), strict=True)]
        after, worth = np.array(found, dtype=np.float64).reshape(-1, 2).T
        return after.astype(np.int64), worth + np.where(word == NO_WORD, UNKNOWN_PHONE * self._tree.depth[node], 0.0)

    def _next(self, history: int, word: int) -> tuple[int, float]:
        if word == NOTHING:
            return history, 0.0
        found = self._steps.get((history, word))
        if found is None:
            after, worth = self._vocabulary.step(self._histories[history], word)
            number = self._numbers.setdefault(after, len(self._histories))
            if self._alike > 1:  # each has a number of its own
                number = len(self._histories)
            if number == len(self._histories):
                self._histories.append(after)
            found = self._steps[history, word] = number, worth
        return found

    def _lent(self, history: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """(paths,), (paths, nodes) → (paths, nodes) what hot words lend there."""
        if self._vocabulary.hotwords is None:
            return np.zeros(nodes.shape)
        return self._vocabulary.lent([self._histories[number] for number in history.tolist()], nodes)

    def _least(self, ranks: np.ndarray) -> float:
        """What a path must reach to be among the best."""
        if len(ranks) <= self._beam or self._margin == math.inf:
            return -sys.float_info.max
        return max(-np.partition(-ranks, self._beam - 1)[self._beam - 1], -sys.float_info.max)

    def _keep(self, paths: Paths) -> None:
        """Merge paths at the same place, and keep the best ones."""
        order = np.lexsort((-(paths.blank + paths.label), paths.place))
        place = paths.place[order]
        first = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
        blank, label = (np.add.reduceat(each[order], first) for each in (paths.blank, paths.label))
        place, loan = place[first], paths.loan[order[first]]
        _, node, _ = self._parts(place)
        with np.errstate(divide="ignore"):
            ranks = np.log(blank + label) + self._ahead[node]
        kept = self._best(place, ranks + loan)
        if loan.any():  # paths with loans must not crowd out those without
            kept = np.array(list(dict.fromkeys([*kept.tolist(), *self._best(place, ranks).tolist()])))
        paths = paths.take(order[first[kept]])
        new = np.flatnonzero(paths.word != STAYED)
        entry = paths.entry.copy()
        entry[new] = len(self._trace) + np.arange(len(new))
        _, _, labels = self._parts(paths.place[new])
        self._trace.add(paths.entry[new].tolist(), labels.tolist(), self._frames, paths.word[new].tolist())
        blank, label = blank[kept], label[kept]
        most = (blank + label).max()
        self._paths = paths._replace(blank=blank / most, label=label / most, entry=entry)
        self._scale += math.log(most)

    def _best(self, place: np.ndarray, ranks: np.ndarray) -> np.ndarray:
        """The positions of those to keep, best first."""
        order = np.argsort(-ranks, kind="stable")
        order = order[ranks[order] > ranks[order[0]] - self._margin]
        if self._alike > 1 and len(order) > self._beam:
            order = order[self._better_alike(place[order]) < self._alike]
        return order[: self._beam]

    def _better_alike(self, place: np.ndarray) -> np.ndarray:
        """(paths,): how many before each get the same from whatever follows."""
        history, node, label = self._parts(place)
        first = np.array([self._numbers[self._histories[number]] for number in history.tolist()])
        place = self._place(first, node, label)
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        before = np.empty(len(order), dtype=np.int64)
        before[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        return before

    def results(self) -> list[Result]:
        """Of the frames so far, as if they were all, best first: each path with each word that may end it."""
        return sorted(self._results(self._paths), key=lambda result: -result.score)

    def so_far(self) -> tuple[Result, int]:
        """Of the frames so far, if they are not all: the best path, with the word that it has begun, if it is one; and
        how many of its words, from the first on, all paths have that are at most AGREEMENT worse."""
        paths = self._paths
        _, node, _ = self._parts(paths.place)
        ranks = np.log(paths.blank + paths.label) + self._ahead[node]
        good = set(paths.entry[ranks >= ranks.max() - AGREEMENT].tolist())
        agreed = takewhile(lambda alike: len(set(alike)) == 1, zip(*map(self._trace.words, good), strict=False))
        return max(self._results(paths.take(ranks.argmax()[None]))), len(list(agreed))

    def _results(self, paths: Paths) -> list[Result]:
        history, node, _ = self._parts(paths.place)
        source, word, _, _ = self._words(node)
        after, worth = self._after(history[source], node[source], word)
        score = np.log(paths.blank + paths.label)[source] + self._scale + worth
        score += [self._vocabulary.end(self._histories[number]) for number in after.tolist()]
        results = []
        for each, last, entry in zip(score.tolist(), word.tolist(), paths.entry[source].tolist(), strict=True):
            words = self._trace.words(entry)
            results.append(Result(each, words if last == NOTHING else (*words, last), entry))
        return results

    def labels(self, result: Result) -> tuple[list[int], list[int]]:
        """Its classes, and the frame in which each of them appeared: about that of its sound."""
        return self._trace.labels(result.entry)
