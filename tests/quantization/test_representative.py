"""Calibration utterances: all lengths, and no speaker more often than needed."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from velocity.quantization.representative import representative, speaker_of


def cut(number: int, speaker: str, duration: float, corpus: str = "mine") -> SimpleNamespace:
    spoken = SimpleNamespace(speaker=speaker)
    return SimpleNamespace(id=f"{corpus}/{number:04d}", duration=duration, supervisions=[spoken])


corpora = st.lists(st.tuples(st.sampled_from("abcdefg"), st.integers(1, 30)), min_size=1, max_size=120)


@given(corpora, st.integers(1, 60), st.randoms(use_true_random=False))
def test_no_speaker_is_drawn_more_often_than_needed(utterances, count, random):
    cuts = [cut(number, speaker, duration) for number, (speaker, duration) in enumerate(utterances)]
    chosen = representative(cuts, count)
    assert len({c.id for c in chosen}) == len(chosen) == min(count, len(cuts))
    available, drawn = (Counter(speaker_of(c) for c in some) for some in (cuts, chosen))
    # The least of all possible maxima, by trying: with one less from each there would not be enough.
    needed = max(drawn.values())
    assert sum(min(n, needed - 1) for n in available.values()) < len(chosen) or len(chosen) == len(cuts)
    assert [c.duration for c in chosen] == sorted(c.duration for c in chosen)
    random.shuffle(cuts)
    assert representative(cuts, count) == chosen


def test_a_speaker_with_nearly_all_the_speech_is_drawn_as_often_as_the_others():
    random = np.random.default_rng(0)
    speakers = ["loud"] * 900 + [f"s{n}" for n in range(10) for _ in range(10)]
    cuts = [
        cut(n, speaker, length)
        for n, (speaker, length) in enumerate(zip(speakers, random.gamma(4.0, 1.5, 1000), strict=True))
    ]
    chosen = representative(cuts, 55)
    assert set(Counter(c.supervisions[0].speaker for c in chosen).values()) == {5}
    ranks = np.searchsorted(np.sort([c.duration for c in cuts]), [c.duration for c in chosen]) / 1000
    even = (np.arange(55) + 0.5) / 55
    assert np.abs(np.sort(ranks) - even).max() < 0.1


def test_speakers_who_only_speak_briefly_do_not_make_the_rest_short():
    """All utterances but the loud speaker's are short: their strata go to the others, the long ones to the one."""
    cuts = [cut(n, "loud", 10 + n) for n in range(50)]
    cuts += [cut(100 + n, f"s{n}", 1 + n / 100) for n in range(50)]
    chosen = representative(cuts, 20)
    assert Counter(c.supervisions[0].speaker for c in chosen).most_common(1)[0][1] == 1
    chosen = representative([c for c in cuts if c.id < "mine/0103"], 20)
    assert sum(c.duration >= 10 for c in chosen) == 17
    assert max(c.duration for c in chosen) > 55


def test_speakers_of_two_corpora_with_the_same_name_are_two():
    cuts = [cut(n, "a", n, corpus) for n in range(9) for corpus in ("one", "two")]
    assert Counter(c.id.split("/")[0] for c in representative(cuts, 6)) == {"one": 3, "two": 3}
