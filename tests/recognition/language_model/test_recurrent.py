"""The recurrent part of a language model: its file, and what the search for words makes of it, against PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.recognition.decoding.test_beam import EVERYTHING, posteriors
from tests.recognition.decoding.test_phone_search import WORDS, search, texts, toy
from velocity.errors import VelocityError
from velocity.recognition.decoding.vocabulary import Vocabulary
from velocity.recognition.language_model.additions import with_words
from velocity.recognition.language_model.file import read_file, write_file
from velocity.recognition.language_model.ngram import NGram
from velocity.recognition.language_model.recurrent import RARE, UNITS, WIDTH, Recurrent
from velocity.recognition.language_model.tables import END_ID, START_ID, Tables

OWN = [START_ID, END_ID, WORDS.index("a"), WORDS.index("bee")]  # all others are rare
PREPARED = 512  # as in network.h
SHARE = 0.6


def network(seed: int = 0, own: Sequence[int] = OWN) -> Recurrent:
    """With weights so large that every word before counts. ``own``: the words of the rows after the first."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(0, 0.3, shape).astype(np.float32)  # noqa: E731
    gates = draw(4 * UNITS, WIDTH), draw(4 * UNITS, WIDTH), draw(4 * UNITS)
    rows = len(own) + 1
    return Recurrent.of(SHARE, np.array(own), draw(rows, WIDTH), draw(rows) - 2, gates, draw(WIDTH, UNITS) / 4)


def tables(recurrent: Recurrent | None) -> Tables:
    lm = toy()
    return Tables(lm.words, lm.levels, lm.pronunciations, recurrent)


class Network:
    """PyTorch's LSTM with the weights of ``own``, by its definition."""

    def __init__(self, own: Recurrent) -> None:
        self.embeddings = torch.from_numpy(own.step * own.embeddings.astype(np.float32))
        self.biases = torch.tensor(own.biases)
        self.lstm = nn.LSTM(WIDTH, UNITS, proj_size=WIDTH, batch_first=True)
        weights = {
            "weight_ih_l0": own.input_gates * own.input_scales[:, None],
            "weight_hh_l0": own.output_gates * own.output_scales[:, None],
            "weight_hr_l0": own.projection * own.projection_scales[:, None],
            "bias_ih_l0": own.gate_biases,
            "bias_hh_l0": np.zeros_like(own.gate_biases),
        }
        self.lstm.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})

    @torch.no_grad()
    def scores(self, rows: list[int]) -> torch.Tensor:
        """The log-probabilities after each of ``rows``: (n, rows)."""
        outputs, _ = self.lstm(self.embeddings[rows][None])
        return outputs[0] @ self.embeddings.T + self.biases


class Reference:
    """The mixture with the n-grams, by its definition."""

    def __init__(self, own: Recurrent, lm: NGram) -> None:
        self.network, self.lm = Network(own), lm
        row_of = {int(word): row for row, word in enumerate(own.words, start=1)}
        self.rows = [row_of.get(word, RARE) for word in range(len(lm.words))]
        rare = sum(math.exp(p) for word, p in enumerate(lm.unigrams) if self.rows[word] == RARE)
        self.rare = [p - math.log(rare) if self.rows[word] == RARE else 0.0 for word, p in enumerate(lm.unigrams)]

    def log_probs(self, words: tuple[int, ...]) -> list[float]:
        """Of each word and the end, mixed with the n-grams."""
        rows = [self.rows[word] for word in (START_ID, *words, END_ID)]
        scores = self.network.scores(rows[:-1])
        found, state = [], self.lm.start()
        for word, own in zip((*words, END_ID), scores[range(len(rows) - 1), rows[1:]].tolist(), strict=True):
            state, ngram = self.lm.score(state, word)
            found.append(math.log(SHARE * math.exp(own + self.rare[word]) + (1 - SHARE) * math.exp(ngram)))
        return found


def check_scores(log_probs: np.ndarray, recurrent: Recurrent) -> None:
    """Weight 1 and weight 0 differ by the log-probabilities of the words."""
    lm = NGram.of(tables(recurrent))
    reference = Reference(lm.recurrent, lm)
    scored, alone = (
        texts(words, search(log_probs, words, **EVERYTHING, alike=10**6).results())
        for words in (Vocabulary(lm, None, 1.0, 0.0), Vocabulary(lm, None, 0.0, 0.0))
    )
    for text, score in scored.items():
        expected = sum(reference.log_probs(tuple(map(lm.id, text))))
        assert math.log(score / alone[text]) == pytest.approx(expected, abs=0.01), "its inputs are rounded"


@settings(max_examples=40)
@given(posteriors(most=6), st.integers(0, 3))
def test_the_search_scores_as_pytorch_does(log_probs: np.ndarray, seed: int) -> None:
    check_scores(log_probs, network(seed))


@settings(max_examples=5)
@given(posteriors(most=6))
def test_words_that_share_a_place_among_the_prepared_ones(log_probs: np.ndarray) -> None:
    """They are "a" and "bee"."""
    between = [WORDS.index("mute")] * (PREPARED - 1)
    check_scores(log_probs, network(own=[START_ID, END_ID, WORDS.index("a"), *between, WORDS.index("bee")]))


def test_a_history_without_its_own_row_is_a_rare_word() -> None:
    lm = NGram.of(tables(network()))
    reference = Reference(lm.recurrent, lm)
    assert reference.rows[lm.id("ab")] == reference.rows[lm.id("no such word")] == RARE
    assert sum(math.exp(reference.rare[word]) for word in range(len(lm.words)) if reference.rows[word] == RARE) == (
        pytest.approx(1)
    )


def test_the_file_gives_back_what_was_written(tmp_path) -> None:
    written = tables(network())
    write_file(written, tmp_path / "toy.lm")
    read = read_file(tmp_path / "toy.lm").recurrent
    assert read.packed() == written.recurrent.packed()
    assert (read.share, read.step) == (written.recurrent.share, written.recurrent.step)
    write_file(tables(None), tmp_path / "without.lm")
    assert read_file(tmp_path / "without.lm").recurrent is None


@pytest.mark.parametrize(
    "planted",
    [
        {"words": np.array([1, 2, 3, 10_000], dtype=np.uint32)},
        {"biases": np.zeros(4, np.float32)},
        {"share": 1.5},
        {"step": 0.0},
    ],
    ids=lambda planted: next(iter(planted)),
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, planted: dict) -> None:
    write_file(tables(replace(network(), **planted)), tmp_path / "toy.lm")
    with pytest.raises(VelocityError, match="does not fit its contents"):
        read_file(tmp_path / "toy.lm")


def test_rounding_is_to_the_nearest_step() -> None:
    rng = np.random.default_rng(1)
    gates, embeddings = rng.normal(0, 0.1, (4 * UNITS, WIDTH)), rng.normal(0, 0.1, (5, WIDTH))
    own = Recurrent.of(
        SHARE,
        np.array(OWN),
        embeddings,
        np.zeros(5),
        (gates, gates, np.zeros(4 * UNITS)),
        gates[:UNITS].T,
    )
    assert np.abs(own.input_gates * own.input_scales[:, None] - gates).max() <= own.input_scales.max() / 2 * 1.001
    assert np.abs(own.embeddings * own.step - embeddings).max() <= own.step / 2 * 1.001


def test_added_words_leave_the_network_to_the_others() -> None:
    """Their ids move, as those of words stay sorted."""
    before = tables(network())
    after = with_words(before, ["aardvark", "mute"])
    names = [after.words[word] for word in after.recurrent.words]
    assert names == [before.words[word] for word in before.recurrent.words]
    assert NGram.of(after).id("aardvark") not in after.recurrent.words
