"""The probe: it measures what an encoder has learned, finds no difference where there is none, changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.model.test_asr import small
from velocity.config.pretraining import Probe
from velocity.data.batches import Batch
from velocity.training.probe import Encoded, Reading, difference_interval, encode, probe, read, train_head, verdict

TOKENS, DIM = 5, 12


class Knowing(nn.Module):
    """An encoder that shows each token's frames as a vector of its own, or nothing but noise; ``inside``: it shows them
    after its first block, and only noise at its end."""

    def __init__(self, knows: bool, inside: bool = False) -> None:
        super().__init__()
        self.knows, self.inside, self.config = knows, inside, small(vocabulary=TOKENS + 1).config
        self.register_buffer("feature_mean", torch.zeros(80))

    def normalize(self, mel, lengths):
        return mel

    def encode(self, features, lengths):
        noise = torch.randn(*features.shape[:2], DIM, generator=torch.Generator().manual_seed(0))
        shown = (features[..., :DIM] if self.knows else 0) + noise
        return (noise, lengths, [shown, noise]) if self.inside else (shown, lengths, [])


def spoken(count: int, seed: int) -> Batch:
    """Utterances of 4 to 6 tokens, three frames each and two of silence between them; feature k shouts for token k."""
    random = np.random.default_rng(seed)
    features, lengths, targets = torch.zeros(count, 30, 80), [], torch.zeros(count, 6, dtype=torch.int64)
    sizes = random.integers(4, 7, count)
    for row, size in enumerate(sizes):
        for place, token in enumerate(random.integers(1, TOKENS + 1, size)):
            features[row, 5 * place : 5 * place + 3, token] = 8.0
            targets[row, place] = int(token)
        lengths.append(5 * int(size))
    ids = [f"{seed}-{row}" for row in range(count)]
    return Batch(ids, features, torch.tensor(lengths), targets, torch.from_numpy(sizes))


SETTINGS = Probe(utterances=40, steps=150, learning_rate=0.05)


def test_an_encoder_that_knows_the_tokens_beats_noise_and_the_interval_says_so():
    train, test = [spoken(20, 1), spoken(20, 2)], [spoken(30, 3)]
    figures = probe(Knowing(True), Knowing(False), train, test, SETTINGS, seed=1)
    assert figures["pretrained"]["token_error_rate"] < 0.05
    assert figures["random"]["token_error_rate"] > 0.5
    assert figures["pretrained"]["loss"] < figures["random"]["loss"]
    assert figures["difference_ci95"][1] < -0.4
    assert "pretraining helps" in verdict(figures)
    assert "\n" not in verdict(figures)
    turned = probe(Knowing(False), Knowing(True), train, test, SETTINGS, seed=1)
    assert turned["difference_ci95"][0] > 0.4
    assert "harms" in verdict(turned)


def test_what_a_layer_inside_knows_is_found():
    train, test = [spoken(20, 1), spoken(20, 2)], [spoken(30, 3)]
    figures = probe(Knowing(True, inside=True), Knowing(False, inside=True), train, test, SETTINGS, seed=1)
    assert figures["pretrained"]["token_error_rate"] < 0.05
    assert np.argmax(figures["pretrained"]["layers"]) == 0
    assert sum(figures["pretrained"]["layers"]) == pytest.approx(1, abs=1e-3)
    assert figures["difference_ci95"][1] < -0.4


def test_the_same_encoder_twice_shows_no_difference():
    figures = probe(Knowing(True), Knowing(True), [spoken(20, 1)], [spoken(30, 3)], SETTINGS, seed=1)
    assert figures["pretrained"] == figures["random"]
    assert figures["difference_ci95"] == [0.0, 0.0]
    assert "no difference is shown" in verdict(figures)


def test_encoders_are_left_as_they_were():
    models = small(vocabulary=TOKENS + 1), small(vocabulary=TOKENS + 1)
    models[0].train()
    before = copy.deepcopy([model.state_dict() for model in models])
    batch = spoken(4, 1)
    figures = [
        probe(*models, [batch], [batch], replace(SETTINGS, steps=5, learning_rate=0.01), seed=1) for _ in range(2)
    ]
    assert figures[0] == figures[1]
    assert models[0].training
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())


def test_padding_changes_nothing():
    """Neither what the head learns from nor what it reads."""
    model, batch = small(vocabulary=TOKENS + 1, dropout=0.5), spoken(6, 1)
    wide = copy.copy(batch)
    wide.features = nn.functional.pad(batch.features, (0, 0, 0, 34))
    readings = []
    for one in (batch, wide):
        encoded = encode(model, [one])
        readings.append(read(train_head(encoded, TOKENS + 1, replace(SETTINGS, steps=20, learning_rate=0.01)), encoded))
    assert np.array_equal(readings[0].errors, readings[1].errors)
    assert readings[0].losses == pytest.approx(readings[1].losses, rel=1e-3)


def test_errors_are_edits_between_tokens():
    """A head that repeats its input: 1 2 3 against 1 3 is one deletion, 4 against 4 5 one insertion."""
    shown = torch.full((2, 4, 6), -9.0)
    for row, tokens in enumerate([(1, 0, 3, 0), (4, 0, 5, 0)]):
        shown[row, torch.arange(4), torch.tensor(tokens)] = 9.0
    targets = torch.tensor([[1, 2, 3], [4, 0, 0]])
    reading = read(nn.Identity(), [Encoded(shown, torch.tensor([4, 3]), targets, torch.tensor([3, 1]))])
    assert reading.errors.tolist() == [1, 1]
    assert reading.tokens.tolist() == [3, 1]
    assert reading.figures()["token_error_rate"] == 0.5


def test_interval_is_that_of_the_paired_bootstrap():
    """Against all 27 draws of three utterances, equally likely; where errors go together there is no width."""
    tokens = np.array([10, 10, 10])
    first, second = (Reading(errors, tokens, tokens) for errors in (np.array([1, 5, 9]), np.array([2, 6, 10])))
    assert difference_interval(first, second, 0) == pytest.approx((-0.1, -0.1))
    uneven = Reading(np.array([2, 6, 6]), tokens, tokens)
    draws = np.stack(np.meshgrid(*[[-1, -1, 3]] * 3), -1).reshape(-1, 3).sum(1) / 30
    low, high = difference_interval(first, uneven, 0)
    assert (low, high) == pytest.approx(tuple(np.percentile(np.repeat(draws, 1000), (2.5, 97.5))), abs=1e-9)
