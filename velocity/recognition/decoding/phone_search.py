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
NOTHING = -2  # in place of a word's id: no word ends here
AGREEMENT = 2.0  # nats
BITS = 6  # of a class in a place's key


class Result(NamedTuple):
    """``words``: ids of the vocabulary, NO_WORD for phones that are no word's. ``entry``: of the last label."""

    score: float
    words: tuple[int, ...]
    entry: int


class Paths(NamedTuple):
    """(paths,) each. ``blank`` and ``label``: the probabilities of the paths that end so, times what their complete
    words and phones of no word are worth, and a scale. ``entry``: of the last label in the trace."""

    place: np.ndarray  # history, node and last label
    blank: np.ndarray
    label: np.ndarray
    entry: np.ndarray


class Trace:
    """For each label that a path got: the entry before it, its class, its frame, and the word that it ends, if any.
    Entry 0 is the beginning."""

    def __init__(self) -> None:
        self._columns = np.zeros((5, 1024), dtype=np.int64)  # with room for more
        self._count = 0
        self.add(np.zeros(1, np.int64), BLANK, -1, NOTHING)

    def add(self, before: np.ndarray, label: np.ndarray | int, frame: int, word: np.ndarray | int) -> np.ndarray:
        """Entries for all of ``before``, (entries,) → their numbers."""
        first, count = self._count, self._count + len(before)
        while count > self._columns.shape[1]:
            self._columns = np.concatenate([self._columns, np.zeros_like(self._columns)], axis=1)
        self._count, added = count, np.arange(first, count)
        ended = np.where(word == NOTHING, self._columns[4, before], added)  # the last entry that ends a word
        for column, values in zip(self._columns, (before, label, frame, word, ended), strict=True):
            column[first:count] = values
        return added

    def labels(self, entry: int) -> tuple[list[int], list[int]]:
        """The classes up to ``entry``, and their frames."""
        before, entries = self._columns[0], []
        while entry:
            entries.append(entry)
            entry = int(before[entry])
        _, labels, frames, _, _ = self._columns[:, entries[::-1]].tolist()
        return labels, frames

    def words(self, entry: int) -> tuple[int, ...]:
        before, _, _, word, ended = self._columns
        found = []
        while entry := int(ended[entry]):
            found.append(int(word[entry]))
            entry = int(before[entry])
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
        # (nodes + 1,) what phones are worth that are no word's: if they end at a node, and if one more follows
        self._no_word = self._ahead[NOWHERE] + UNKNOWN_PHONE * self._tree.depth
        self._no_longer = self._no_word + UNKNOWN_PHONE
        self._no_word[ROOT] = 0.0  # between words
        self._bits = BITS + len(self._ahead).bit_length()  # of a node and a label in a place
        self._histories = [vocabulary.start()]
        self._numbers = {self._histories[0]: 0}  # history → the first of its numbers
        self._steps: dict[tuple[int, int], tuple[int, float]] = {}  # history, word → the history after it, its worth
        self._trace, self._frames, self._scale = Trace(), 0, 0.0
        none = np.zeros(1, dtype=np.int64)
        self._paths = Paths(self._place(none, none, BLANK), np.ones(1), np.zeros(1), none)

    def _place(self, history: np.ndarray, node: np.ndarray | int, label: np.ndarray | int) -> np.ndarray:
        return history << self._bits | (node + 1) << BITS | label

    def _parts(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(history, node, label)."""
        return place >> self._bits, ((place & (1 << self._bits) - 1) >> BITS) - 1, place & (1 << BITS) - 1

    def accept(self, log_probs: np.ndarray) -> None:
        """The next (frames, CLASSES) log-posteriors."""
        chosen = candidates(log_probs, BLANK, self._tokens, self._floor)
        blanks = np.exp(log_probs[:, BLANK].astype(np.float64)).tolist()
        with np.errstate(divide="ignore"):
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
        ranks = np.log(in_blank + in_label) + self._ahead[node]
        in_any, repeatable = np.log(either)[:, None], np.log(paths.blank)[:, None]
        mass = np.where(last[:, None] == classes, repeatable, in_any) + np.log(probabilities)  # (paths, classes)

        phones = classes[ends:]
        longer = self._tree.longer(node, phones)  # (paths, phones)
        worth = np.where(longer == NOWHERE, self._no_longer[node][:, None], self._ahead[longer])
        estimates = (mass[:, ends:] + worth).ravel()
        every = [ranks, estimates]
        if ends:
            source, word, worth, hot = self._words(node)
            complete = mass[source, 0] + worth
            every.append(complete)
        least = self._least(np.concatenate(every))

        with_loans = estimates
        if self._vocabulary.hotwords is not None:
            with_loans = estimates + self._lent(history, longer).ravel()
        chosen = (with_loans >= least).nonzero()[0]
        rows, columns = np.divmod(chosen, len(phones))
        further = longer.ravel()[chosen]
        place = self._place(history[rows], further, phones[columns])
        grown = estimates[chosen] - self._ahead[further]
        words = np.full(len(chosen), NOTHING)
        if ends:
            chosen = complete >= least
            if hot is not None:
                chosen |= hot & (complete > -math.inf)
            source, word = source[chosen], word[chosen]
            after, worth = self._after(history[source], node[source], word)
            rows, words = np.concatenate([rows, source]), np.concatenate([words, word])
            place = np.concatenate([place, self._place(after, ROOT, BOUNDARY)])
            grown = np.concatenate([grown, mass[source, 0] + worth])
        self._keep(in_blank, in_label, place, np.exp(grown), rows, words)

    def _words(self, node: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """For each word that may end at a path's node, or NO_WORD, or NOTHING between words: the path, the word, its
        worth by its unigram, and, if there are hot words, whether they may reward it."""
        vocabulary, count = self._vocabulary, self._tree.rows[node]
        spelled, others = count.nonzero()[0], (count == 0).nonzero()[0]
        times, elsewhere = count[spelled], node[others]
        row = np.repeat(self._tree.row[node[spelled]] - times.cumsum() + times, times)
        row += np.arange(len(row))
        source = np.concatenate([np.repeat(spelled, times), others])
        word = np.concatenate([vocabulary.lexicon.words[row], np.where(elsewhere == ROOT, NOTHING, NO_WORD)])
        worth = np.concatenate([vocabulary.alone[row], self._no_word[elsewhere]])
        if vocabulary.hotwords is None:
            return source, word, worth, None
        return source, word, worth, np.concatenate([vocabulary.hot[row], np.zeros(len(others), dtype=bool)])

    def _after(self, history: np.ndarray, node: np.ndarray, word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The histories after words that end at these nodes, and what the words are worth."""
        pairs = list(zip(history.tolist(), word.tolist(), strict=True))
        if new := [pair for pair in dict.fromkeys(pairs) if pair not in self._steps and pair[1] != NOTHING]:
            self._add_steps(new)
        found = [(pair[0], 0.0) if pair[1] == NOTHING else self._steps[pair] for pair in pairs]
        after, worth = zip(*found, strict=True) if found else ((), ())
        unknown = np.where(word == NO_WORD, UNKNOWN_PHONE * self._tree.depth[node], 0.0)
        return np.array(after, dtype=np.int64), unknown + worth

    def _add_steps(self, pairs: list[tuple[int, int]]) -> None:
        found = self._vocabulary.steps([self._histories[history] for history, _ in pairs], [word for _, word in pairs])
        for pair, (after, worth) in zip(pairs, found, strict=True):
            number = self._numbers.setdefault(after, len(self._histories))
            if self._alike > 1:  # each has a number of its own
                number = len(self._histories)
            if number == len(self._histories):
                self._histories.append(after)
            self._steps[pair] = number, worth

    def _lent(self, history: np.ndarray, nodes: np.ndarray) -> np.ndarray:
        """(paths,), (paths, nodes) → (paths, nodes) what hot words lend there."""
        return self._vocabulary.lent([self._histories[number] for number in history.tolist()], nodes)

    def _least(self, ranks: np.ndarray) -> float:
        """What a path must reach to be among the best."""
        worse = len(ranks) - self._beam
        if worse <= 0 or self._margin == math.inf:
            return -sys.float_info.max
        return max(np.partition(ranks, worse)[worse], -sys.float_info.max)

    def _keep(
        self,
        blank: np.ndarray,
        label: np.ndarray,
        places: np.ndarray,
        grown: np.ndarray,
        source: np.ndarray,
        words: np.ndarray,
    ) -> None:
        """Merge paths at the same place, and keep the best ones: those of before, whose probabilities are now ``blank``
        and ``label``, and ``grown`` ones, longer than those at ``source`` by one label."""
        paths, count = self._paths, len(blank)
        place = np.concatenate([paths.place, places])
        blank, label = np.concatenate([blank, np.zeros(len(grown))]), np.concatenate([label, grown])
        order = np.lexsort((-(blank + label), place))
        place = place[order]
        first = np.concatenate([[0], (place[1:] != place[:-1]).nonzero()[0] + 1])
        blank, label = np.add.reduceat(blank[order], first), np.add.reduceat(label[order], first)
        place, order = place[first], order[first]
        history, node, last = self._parts(place)
        ranks = np.log(blank + label) + self._ahead[node]
        if self._vocabulary.hotwords is None:
            kept = self._best(place, ranks)
        else:  # paths with loans must not crowd out those without
            lent = ranks + self._lent(history, node[:, None])[:, 0]
            kept = np.array(
                list(dict.fromkeys([*self._best(place, lent).tolist(), *self._best(place, ranks).tolist()]))
            )
        blank, label, order = blank[kept], label[kept], order[kept]
        entry = paths.entry[np.where(order < count, order, 0)]
        new = (order >= count).nonzero()[0]
        longer = order[new] - count
        entry[new] = self._trace.add(paths.entry[source[longer]], last[kept[new]], self._frames, words[longer])
        most = (blank + label).max()
        self._paths = Paths(place[kept], blank / most, label / most, entry)
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
        return max(self._results(Paths(*(column[[ranks.argmax()]] for column in paths)))), len(list(agreed))

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
