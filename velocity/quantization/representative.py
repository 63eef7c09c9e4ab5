"""Utterances that stand for a whole training set: all lengths, and no speaker more often than it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse import MonoCut

Speaker = tuple[str, str]  # corpus, name in it


def speaker_of(cut: MonoCut) -> Speaker:
    return cut.id.rpartition("/")[0].partition("/")[0], cut.supervisions[0].speaker


def share(utterances: Counter[Speaker], count: int) -> int:
    """The fewest utterances that some speaker has to give where ``count`` are wanted and none gives more than needed."""
    level = 0
    while sum(min(held, level) for held in utterances.values()) < min(count, utterances.total()):
        level += 1
    return level


def representative(cuts: Iterable[MonoCut], count: int) -> list[MonoCut]:
    """``count`` labelled cuts, or all where there are fewer, from short to long; the order of ``cuts`` is no matter.

    The cuts, sorted by length, fall into ``count`` strata of the same size. Each gives the one nearest to its middle of
    those by the speakers drawn least often. A stratum all of whose speakers have given their ``share`` takes the cut of
    another speaker that is nearest in length.
    """
    ordered = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
    if len(ordered) <= count:
        return ordered
    speakers = [speaker_of(cut) for cut in ordered]
    most = share(Counter(speakers), count)
    drawn: Counter[Speaker] = Counter()
    chosen: set[int] = set()
    short_of: list[float] = []

    def take(index: int) -> None:
        chosen.add(index)
        drawn[speakers[index]] += 1

    for stratum in range(count):
        first, end = stratum * len(ordered) // count, (stratum + 1) * len(ordered) // count
        middle = (first + end - 1) / 2
        open_to = [index for index in range(first, end) if drawn[speakers[index]] < most]
        if open_to:
            take(min(open_to, key=lambda index: (drawn[speakers[index]], abs(index - middle), index)))
        else:
            short_of.append(middle)
    for middle in short_of:
        left = (index for index in range(len(ordered)) if index not in chosen and drawn[speakers[index]] < most)
        take(min(left, key=lambda index: (abs(index - middle), index)))
    return [ordered[index] for index in sorted(chosen)]
