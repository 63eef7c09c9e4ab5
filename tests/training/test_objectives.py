"""Pretraining: what is hidden, that nothing else counts, and that BEST-RQ's labels are those of its paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.model.test_asr import small
from velocity.config.pretraining import Pretraining
from velocity.config.reader import default_section
from velocity.data.batches import Batch, Position
from velocity.model.asr import load_pretrained, save_model
from velocity.training.objectives.best_rq import BestRQ, RandomProjectionQuantizer, perplexity
from velocity.training.objectives.masking import draw_bands, draw_spans
from velocity.training.objectives.pretraining import MASKED
from velocity.training.objectives.spectrogram import MaskedSpectrogram

BOTH = pytest.mark.parametrize("objective", ["spectrogram", "best-rq"])


def settings(objective: str = "spectrogram", **changes) -> Pretraining:
    quantizer = {"codebooks": 2, "codebook_size": 32, "code_dim": 8, "noise": 0.1}
    return default_section("pretrain", Pretraining, objective=objective, **{"best_rq": quantizer, **changes})


def batch_of(*lengths: int, epoch: int = 0, first: int = 0, padding: int = 0) -> Batch:
    """Utterances u<first>, u<first+1>…: noise that follows from the name alone, smooth in time."""
    frames = max(lengths) + padding
    features = torch.zeros(len(lengths), frames, 80)
    for row, length in enumerate(lengths):
        noise = np.random.default_rng(first + row).standard_normal((length + 8, 80))
        smooth = sum(noise[k : k + length] for k in range(8))
        features[row, :length] = torch.from_numpy(smooth).float()
    ids = [f"u{first + row}" for row in range(len(lengths))]
    none = torch.zeros(len(lengths), 0, dtype=torch.int64)
    count = torch.zeros(len(lengths), dtype=torch.int64)
    return Batch(ids, features, torch.tensor(lengths), none, count, Position(epoch))


class Levelled(torch.nn.Module):
    """Features whose level has been taken out already."""

    def forward(self, mel, mask):
        return mel


def still(objective: str, stride: int = 2, **changes) -> MaskedSpectrogram | BestRQ:
    """An objective whose only randomness is what it hides, of features as they are."""
    torch.manual_seed(0)
    model = small(dropout=0.0, stride=stride)
    model.level = Levelled()
    return MASKED[objective](model, settings(objective, **changes), seed=7)


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([3, number]) for number in range(count)]


@pytest.mark.parametrize(("start", "covered"), [(0.067, 0.5), (0.15, 0.8)])
def test_spans_cover_the_share_that_probability_promises(start, covered):
    """Frame t lies under a span unless none of the min(t + 1, 10) starts before it came up."""
    length, count = 400, 2000
    hidden = draw_spans(
        torch.full((count,), length), length + 50, settings(mask_start=start), generators(count)
    ).numpy()
    promised = 1 - (1 - start) ** np.minimum(np.arange(length) + 1, 10)
    share = hidden[:, :length].mean(0)
    assert np.abs(share - promised).max() < 5 * 0.5 / np.sqrt(count)  # 5 standard deviations of a share
    assert hidden[:, :length].mean() == pytest.approx(covered, abs=0.02)
    assert not hidden[:, length:].any()


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(1, 20), st.floats(0, 0.2), st.integers(0, 99))
def test_spans_are_whole_never_on_padding_and_never_missing(lengths, span, start, seed):
    randoms = [np.random.default_rng([seed, row]) for row in range(len(lengths))]
    drawn = draw_spans(torch.tensor(lengths), 64, settings(mask_start=start, mask_span=span), randoms).numpy()
    for row, length in zip(drawn, lengths, strict=True):
        assert row[:length].any()
        assert not row[length:].any()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], row[:length], [0]])))
        for first, end in edges.reshape(-1, 2):
            assert end - first >= span or end == length  # only the end of the utterance cuts a span


def test_bands_have_their_width_and_their_share():
    bands = draw_bands(80, settings(), generators(4000)).numpy()
    widths = bands.sum(1)
    assert set(widths) == {0, 5, 6, 7, 8, 9, 10}
    assert abs((widths > 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 4000)
    assert (np.abs(np.diff(bands.astype(int), axis=1)).sum(1) <= 2).all()  # one piece each
    assert bands.any(0).all()  # the lowest and the highest bin too


def test_a_band_hides_its_bins_to_the_end_of_the_speech_and_not_on_padding():
    batch = batch_of(120, 60)
    hidden = still("spectrogram", band_probability=1.0, mask_start=0.0).hidden(batch)
    for row, length in zip(hidden, batch.lengths, strict=True):
        bins = row[:length].all(0)
        assert 5 <= bins.sum() <= 10
        assert not row[length:].any()


@BOTH
def test_only_what_is_hidden_has_a_gradient(objective):
    """Of the prediction: planted at the last layer, where each place has a weight in the loss of its own."""
    model, batch = still(objective, band_probability=1.0), batch_of(90, 41)
    caught = []
    last = model.head
    last.register_forward_hook(lambda module, inputs, output: caught.append(output) or output.retain_grad())
    model(batch).backward()
    gradient = caught[0].grad
    if objective == "spectrogram":
        gradient = gradient.reshape(2, -1, 80)[:, :90]
        assert torch.equal(gradient != 0, model.hidden(batch))
    else:
        spans = draw_spans(batch.lengths, 90, model.settings, model.generators(batch))
        whole = spans.reshape(2, 45, 2).all(-1).sum()
        assert gradient.shape == (whole, 2 * 32)  # nothing else is even predicted
        assert (gradient != 0).all()


def test_loss_is_the_mean_error_of_the_hidden_places():
    """By loops over places, with a decoder whose output is set."""
    objective, batch = still("spectrogram"), batch_of(50, 31)
    torch.nn.init.zeros_(objective.head.weight)
    torch.nn.init.constant_(objective.head.bias, 0.25)
    means = []
    for row, hidden, length in zip(batch.features.numpy(), objective.hidden(batch).numpy(), (50, 31), strict=True):
        errors = [abs(0.25 - row[t, f]) for t in range(length) for f in range(80) if hidden[t, f]]
        means.append(sum(errors) / len(errors))
    assert objective(batch).item() == pytest.approx(sum(means) / 2, rel=1e-5)


@BOTH
@pytest.mark.parametrize("stride", [2, 4])
def test_loss_and_gradient_of_a_batch_are_those_of_its_parts(objective, stride):
    """However utterances are put together and padded: what processes and accumulated batches rely on."""
    model = still(objective, stride)

    def gradient(*parts: Batch) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        losses = [model(part) * len(part.ids) / 3 for part in parts]
        sum(losses).backward()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return sum(losses).item(), torch.cat(grads)

    loss, whole = gradient(batch_of(83, 66, 37))
    others = gradient(batch_of(83, padding=5)), gradient(batch_of(83, 66), batch_of(37, first=2, padding=9))
    assert others[0][0] != loss
    assert others[1][0] == pytest.approx(loss, rel=1e-5)
    assert torch.allclose(others[1][1], whole, atol=1e-5 * whole.abs().max().item(), rtol=1e-3)


@BOTH
def test_other_places_are_hidden_in_each_epoch_and_the_same_ones_in_validation(objective):
    model = still(objective)
    losses = [model(batch_of(80, 70, epoch=epoch)).item() for epoch in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]
    torch.manual_seed(1)
    first = model.validation([batch_of(80, 70), batch_of(40, first=2)])
    assert first == model.validation([batch_of(80, 70), batch_of(40, first=2)])
    apart = model.validation([batch_of(80), batch_of(70, first=1), batch_of(40, first=2)])
    assert apart["loss"] == pytest.approx(first["loss"], rel=1e-5)


@BOTH
def test_an_utterance_too_short_for_a_span_gives_a_finite_loss(objective):
    loss = still(objective)(batch_of(3, 1))
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("stride", [2, 4])
def test_labels_are_the_nearest_code_by_distance(stride):
    """The paper's argmin over distances of normalised vectors, in NumPy and in 64 bits, frame by frame."""
    objective, batch = still("best-rq", stride), batch_of(42)
    mel = batch.features[0].numpy().astype(np.float64)
    expected = np.empty((42 // stride, 2), dtype=np.int64)
    for place in range(len(expected)):
        stacked = np.concatenate([mel[place * stride + k] for k in range(stride)])
        for book in range(2):
            projected = stacked @ objective.quantizer.projection[book].double().numpy()
            codes = objective.quantizer.codes[book].double().numpy()
            codes = codes / np.linalg.norm(codes, axis=1, keepdims=True)
            distances = np.linalg.norm(codes - projected / np.linalg.norm(projected), axis=1)
            expected[place, book] = distances.argmin()
    found = objective.quantizer(objective.stack(batch.features))[0, : len(expected)].numpy()
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 5


def test_the_loss_of_best_rq_is_the_cross_entropy_of_hidden_frames():
    """Each by hand from the head's output where the encoder got noise in place of hidden frames."""
    model, batch = still("best-rq"), batch_of(60, 33)
    spans = draw_spans(batch.lengths, 60, model.settings, model.generators(batch))
    randoms = model.generators(batch)
    draw_spans(batch.lengths, 60, model.settings, randoms)
    shown = model.with_noise(batch.features, spans, randoms)
    assert torch.equal(shown[~spans], batch.features[~spans])
    assert shown[spans].std().item() == pytest.approx(0.1, rel=0.1)
    assert abs(shown[spans].mean().item()) < 0.01
    encoded = model.model.encode(shown, batch.lengths).frames
    scores = model.head(encoded).detach().double().numpy().reshape(2, -1, 2, 32)
    labels = model.quantizer(model.stack(batch.features)).numpy()
    means = []
    for row in range(2):
        places = [t for t in range(30) if spans[row, 2 * t] and spans[row, 2 * t + 1]]
        losses = [
            np.log(np.exp(scores[row, t, book]).sum()) - scores[row, t, book, labels[row, t, book]]
            for t in places
            for book in range(2)
        ]
        means.append(np.mean(losses))
    assert model(batch).item() == pytest.approx(np.mean(means), rel=1e-5)


def test_the_quantizer_follows_from_the_seed_and_is_not_saved(tmp_path):
    first, again, other = (RandomProjectionQuantizer(160, 1, 64, 16, seed) for seed in (1, 1, 2))
    assert torch.equal(first.codes, again.codes)
    assert torch.equal(first.projection, again.projection)
    assert not torch.equal(first.codes, other.codes)
    assert first.state_dict() == {}
    assert list(first.parameters()) == []
    objective = still("best-rq")
    save_model(objective.model, tmp_path / "pretrained.safetensors")
    save_model(small(dropout=0.0), tmp_path / "plain.safetensors")
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["pretrained.safetensors"] == sizes["plain.safetensors"]
    taken = small(dropout=0.0, vocabulary=9)  # another number of classes: its own head stays
    load_pretrained(taken, tmp_path / "pretrained.safetensors")
    assert torch.equal(taken.fusion.gate.weight, objective.model.fusion.gate.weight)


def test_labels_do_not_depend_on_the_precision_of_the_training():
    quantizer, frames = RandomProjectionQuantizer(160, 2, 256, 16, 1), torch.randn(200, 160)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(quantizer(frames), quantizer.float()(frames))
        labels = quantizer(frames)
    assert torch.equal(labels, quantizer(frames))


def test_a_collapsed_quantizer_shows_in_its_perplexity():
    """Speech-like frames use many labels; frames that a large constant drowns, as unnormalised log-mel, use few."""
    objective = still("best-rq", best_rq={"codebooks": 1, "codebook_size": 64, "code_dim": 16, "noise": 0.1})
    batch = batch_of(400, 300)
    healthy = objective.validation([batch])["codebook_perplexity"]
    drowned = objective.validation([replace(batch, features=batch.features + 100.0)])["codebook_perplexity"]
    assert healthy > 24
    assert drowned < 3
    assert perplexity(torch.tensor([[1.0, 1, 1, 1], [4, 0, 0, 0]])).tolist() == pytest.approx([4, 1])


@BOTH
def test_pretraining_learns_to_predict_what_is_hidden(objective):
    """A few steps on one batch make the loss of the same hidden places fall well below that of an untrained model."""
    model, batch = still(objective), batch_of(60, 50, 40)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    before = model(batch).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss = model(batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.8 * before
