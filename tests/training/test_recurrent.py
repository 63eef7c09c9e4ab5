"""The training of a language model's recurrent network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recognition.language_model.test_recurrent import Network
from velocity.errors import VelocityError
from velocity.recognition.language_model.tables import END_ID, START_ID
from velocity.training import recurrent
from velocity.training.recurrent import NORMALISED, SampledSoftmax, WordLSTM, train_recurrent

WORDS = 13  # 3 special ones, and 10


def counting(sentences: int, first: int = 3) -> np.ndarray:
    """Each sentence counts up from a number: after the first word, all others are certain."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(sentences):
        start = rng.integers(0, WORDS - first)
        found += [START_ID, *(first + (start + step) % (WORDS - first) for step in range(6)), END_ID]
    return np.array(found, dtype=np.uint32)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a few sentences, and a checkpoint after every third."""
    for name, value in {"BATCH": 256, "WARMUP": 5, "CHECKPOINT_EVERY": 3, "RATE": 0.01}.items():
        monkeypatch.setattr(recurrent, name, value)


def test_it_learns_what_follows(small, tmp_path: Path) -> None:
    trained = train_recurrent(counting(1500), WORDS, 2, tmp_path / "checkpoints")
    assert sorted(trained.words) == [START_ID, END_ID, *range(3, WORDS)]
    assert not (tmp_path / "checkpoints").exists()
    row_of = {int(word): row for row, word in enumerate(trained.words, start=1)}
    scores = Network(trained).scores([row_of[word] for word in (START_ID, 5, 6, 7)])
    for after, expected in ((1, 6), (2, 7), (3, 8)):
        assert scores[after].exp()[row_of[expected]] > 0.8
    assert scores.exp().sum(1).numpy() == pytest.approx(1, abs=0.5), "it need not be normalised"


def test_a_killed_training_goes_on_to_the_same_bytes(small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = counting(300)
    expected = train_recurrent(text, WORDS, 1, tmp_path / "whole").packed()
    stream = recurrent._stream

    def killed(*arguments):
        for step, batch in stream(*arguments):
            if step == 5:
                raise KeyboardInterrupt
            yield step, batch

    monkeypatch.setattr(recurrent, "_stream", killed)
    with pytest.raises(KeyboardInterrupt):
        train_recurrent(text, WORDS, 1, tmp_path / "part")
    firsts = []
    monkeypatch.setattr(recurrent, "_stream", lambda *given: (firsts.append(given[1]), stream(*given))[1])
    assert train_recurrent(text, WORDS, 1, tmp_path / "part").packed() == expected
    assert firsts == [3], "it went on from the checkpoint"
    assert train_recurrent(counting(301), WORDS, 1, tmp_path / "part").packed() != expected
    assert firsts == [3, 0], "another text is another training"


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 60), st.integers(0, 100))
def test_with_all_words_frequent_the_softmax_is_exact(rows: int, seed: int) -> None:
    torch.manual_seed(seed)
    counts = np.random.default_rng(seed).integers(0, 50, rows)
    model = WordLSTM(torch.randn(rows))
    queries, targets = torch.randn(7, recurrent.WIDTH), torch.randint(rows, (7,))
    scores = model.scores(queries, torch.arange(rows))
    expected = F.cross_entropy(scores, targets) + NORMALISED * scores.logsumexp(1).square().mean()
    found = SampledSoftmax(counts)(model, queries, targets, np.random.default_rng(seed))
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_sample_estimates_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    """exp(ln Σ), for words that are drawn and words that always count, is right on average."""
    monkeypatch.setattr(recurrent, "FREQUENT", 5)
    monkeypatch.setattr(recurrent, "SAMPLED", 20)
    torch.manual_seed(0)
    counts = np.geomspace(1000, 1, 60)
    model, queries = WordLSTM(torch.zeros(60)), 3 * torch.randn(1, recurrent.WIDTH)
    softmax, target = SampledSoftmax(counts), torch.tensor([30])
    monkeypatch.setattr(recurrent, "NORMALISED", 0.0)
    right = model.scores(queries, target).item()
    rng, draws = np.random.default_rng(0), 4000
    sums = [np.exp(softmax(model, queries, target, rng).item() + right) for _ in range(draws)]
    exact = model.scores(queries, torch.arange(60)).exp().sum().item()
    assert np.mean(sums) == pytest.approx(exact, abs=4 * np.std(sums) / draws**0.5)


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(VelocityError, match="no sentences"):
        train_recurrent(np.array([START_ID, END_ID], dtype=np.uint32), WORDS, 1, tmp_path)
