"""Utterances that represent a whole training set: all lengths, speakers as evenly as possible."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lhotse import MonoCut

Speaker = tuple[str, str]  # corpus, name in it


def speaker_of(cut: MonoCut) -> Speaker:
    return cut.id.rpartition("/")[0].partition("/")[0], cut.supervisions[0].speaker


def share(available: Counter[Speaker], count: int) -> int:
    """The most utterances that any speaker contributes to ``count``, spread as evenly as possible."""
    level = 0
    while sum(min(utterances, level) for utterances in available.values()) < min(count, available.total()):
        level += 1
    return level


def representative(cuts: Iterable[MonoCut], count: int) -> list[MonoCut]:
    """``count`` labelled cuts, or all where there are fewer, from short to long; the order of ``cuts`` does not matter.

    The cuts, sorted by length, fall into ``count`` strata of the same size. Each gives one, of the speaker drawn least
    often, then of the one with the least speech, then the one nearest to its middle. A stratum all of whose speakers
    have given their ``share`` takes the cut of another speaker that is nearest in length.
    """
    ordered = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
    if len(ordered) <= count:
        return ordered
    speakers = [speaker_of(cut) for cut in ordered]
    available = Counter(speakers)
    most = share(available, count)
    drawn: Counter[Speaker] = Counter()
    chosen: set[int] = set()
    short_of: list[float] = []

    def take(index: int) -> None:
        chosen.add(index)
        drawn[speakers[index]] += 1

    for stratum in reversed(range(count)):  # if shares run out, the short strata lose
        first, end = stratum * len(ordered) // count, (stratum + 1) * len(ordered) // count
        middle = (first + end - 1) / 2
        open_to = [index for index in range(first, end) if drawn[speakers[index]] < most]
        if open_to:
            rare = lambda index: (drawn[speakers[index]], available[speakers[index]], abs(index - middle), index)  # noqa: B023, E731
            take(min(open_to, key=rare))
        else:
            short_of.append(middle)
    for middle in short_of:
        left = (index for index in range(len(ordered)) if index not in chosen and drawn[speakers[index]] < most)
        take(min(left, key=lambda index: (abs(index - middle), index)))
    return [ordered[index] for index in sorted(chosen)]
