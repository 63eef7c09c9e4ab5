"""Greedy CTC and cue times against the definition and on constructed posteriors."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from velocity.recognition.decoding.greedy import best_alignment, best_path, greedy
from velocity.recognition.decoding.segments import LONGEST, PAUSE, Segment, segments
from velocity.recognition.decoding.words import EARLY, LATE, Word, timed_words

LETTERS = "_?abcdefghijklmnopqrstuvwxyz "  # class → letter; 0 is the blank


def posteriors(path: str) -> np.ndarray:
    """(frames, V) log-posteriors whose best path is ``path``, one letter a frame."""
    probabilities = np.full((len(path), len(LETTERS)), 0.01)
    probabilities[np.arange(len(path)), [LETTERS.index(letter) for letter in path]] = 0.5
    return np.log(probabilities / probabilities.sum(1, keepdims=True))


def decode(tokens: list[int]) -> str:
    return "".join(LETTERS[token] for token in tokens)


def words(log_probs: np.ndarray, frame_seconds: float) -> list[Word]:
    """The words of the best path."""
    pieces = ["" if letter in "_?" else letter for letter in LETTERS]
    return timed_words(log_probs, greedy(log_probs), best_alignment(log_probs), pieces, frame_seconds)


def cues_of(path: str, frame_seconds: float) -> list[Segment]:
    return segments(words(posteriors(path), frame_seconds), len(path) * frame_seconds)


@given(st.text(alphabet="_ab ", min_size=1, max_size=40))
def test_greedy_is_the_collapse_of_the_best_path(path: str) -> None:
    expected = [letter for letter, _ in groupby(path) if letter != "_"]
    assert decode(greedy(posteriors(path))) == "".join(expected)


@given(st.text(alphabet="_ab", min_size=1, max_size=40))
def test_tokens_are_found_at_the_frame_they_start(path: str) -> None:
    tokens, frames = best_path(posteriors(path))
    assert [LETTERS.index(path[frame]) for frame in frames] == tokens.tolist()
    assert all(frame == 0 or path[frame - 1] != path[frame] for frame in frames)


def test_words_have_the_times_of_their_tokens() -> None:
    found = list(words(posteriors("_hh_i__ _t_o_m__"), 0.02))
    assert [(word.text, round(word.start, 2), round(word.end, 2)) for word in found] == [
        ("hi", 0.0, round(0.1 + EARLY, 2)),  # not before the sound begins
        ("tom", round(0.18 - LATE, 2), round(0.28 + EARLY, 2)),
    ]


def test_a_pause_ends_a_cue() -> None:
    path = "go" + " " + "_" * 10 + "on" + "_" * 100 + " stop" + "_" * 20
    cues = cues_of(path, 0.02)
    assert [cue.text for cue in cues] == ["go on", "stop"]
    assert cues[0].end < 15 * 0.02 + PAUSE < cues[1].start <= 116 * 0.02
    assert cues[1].end <= len(path) * 0.02


@given(st.text(alphabet="_abcde ", min_size=1, max_size=400), st.sampled_from([0.02, 0.04, 0.5]))
def test_cues_hold_every_word_in_order_and_do_not_overlap(path: str, frame_seconds: float) -> None:
    cues = cues_of(path, frame_seconds)
    text = decode(greedy(posteriors(path)))
    assert " ".join(cue.text for cue in cues).split() == text.split()
    edges = [edge for cue in cues for edge in (cue.start, cue.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= len(path) * frame_seconds for edge in edges)
    assert all(cue.end - cue.start < LONGEST + 1 for cue in cues if " " in cue.text)
