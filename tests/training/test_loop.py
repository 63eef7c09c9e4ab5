"""Training: it learns, it resumes to the same bytes, and it stops where the loss is no number."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from tests.model.test_asr import small
from velocity.audio import compute_mel_spectrogram
from velocity.config.training import Augmentation, Optimisation, Pretraining
from velocity.data.batches import Loader, Position
from velocity.data.manifests import to_line, write_lines
from velocity.errors import VelocityError
from velocity.model.asr import save_model
from velocity.quantization.linear import quantize_linears, set_mode
from velocity.text import TextTokenizer, train_tokenizer
from velocity.training.checkpoint import Checkpoints, fingerprint
from velocity.training.loop import fit, learning_rate, set_determinism
from velocity.training.objectives import CTC, MaskedSpectrogram
from velocity.training.scoring import validation_scores

LETTERS = "abcdefgh"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> TextTokenizer:
    return train_tokenizer(["a"], "characters", 0, tmp_path_factory.mktemp("tokenizer") / "tokenizer.model")


@pytest.fixture(scope="module")
def cuts(tmp_path_factory) -> CutSet:
    """24 utterances of three 'letters', each letter a tone of its own."""
    folder, random = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    found = []
    for number in range(24):
        word = "".join(random.choice(list(LETTERS), 3, replace=False))
        time = np.arange(3200) / 16_000
        tones = [0.3 * np.sin(2 * np.pi * (300 + 400 * LETTERS.index(letter)) * time) for letter in word]
        gap = np.zeros(800)
        samples = np.concatenate([gap, tones[0], gap, tones[1], gap, tones[2], gap]).astype(np.float32)
        path = folder / f"{number}.flac"
        soundfile.write(path, samples, 16_000)
        recording = Recording.from_file(path, recording_id=f"u{number:02d}")
        segment = SupervisionSegment(recording.id, recording.id, 0.0, recording.duration, text=word, speaker="tone")
        found.append(MonoCut(recording.id, 0.0, recording.duration, 0, supervisions=[segment], recording=recording))
    return CutSet.from_cuts(found)


@pytest.fixture(scope="module")
def manifest(cuts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "train.jsonl"
    write_lines(path, (to_line(cut.to_dict()) for cut in cuts))
    return path


def settings(steps: int, **changes) -> Optimisation:
    return Optimisation(**{"steps": steps, "batch_seconds": 8.0, "learning_rate": 0.004, "checkpoint_every": 4,
                           "validate_every": 1000, **changes})  # fmt: skip


def statistics(cuts: CutSet) -> dict[str, list[float]]:
    mel = np.concatenate([compute_mel_spectrogram(cut.load_audio()[0]) for cut in cuts])
    return {"mean": mel.mean(0).tolist(), "std": mel.std(0).tolist()}


def test_training_overfits_a_handful_of_tones(cuts, manifest, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_determinism(2)
    model = small(vocabulary=tokenizer.vocabulary, dropout=0.0)
    model.set_feature_statistics(**statistics(cuts))
    objective = CTC(quantize_linears(model))
    loader = Loader(tokenizer, statistics(cuts)["mean"], seed=1)
    history = fit(
        objective,
        lambda position: loader.training(manifest, 8.0, position),
        settings(150),
        1,
        Checkpoints("t", "f"),
        "tones",
        before_step=lambda step: set_mode(model, "fake" if step >= 90 else "observe"),
        validate=lambda: validation_scores(objective, loader.plain(cuts, 8.0), tokenizer),
    )
    assert history["training"][0]["loss"] > 2.0
    assert history["validation"][-1]["wer"] == 0.0


@pytest.mark.parametrize("killed_at", [4, 7])
def test_a_killed_training_ends_in_the_same_bytes(manifest, tokenizer, tmp_path, monkeypatch, killed_at):
    monkeypatch.chdir(tmp_path)
    set_determinism(2)

    def train(name: str, stop: int | None) -> bytes:
        torch.manual_seed(5)
        model = small(vocabulary=tokenizer.vocabulary)
        objective = CTC(quantize_linears(model))
        loader = Loader(tokenizer, [0.0] * 80, 1, Augmentation(noise=0.5))

        def before(step: int) -> None:
            if step == stop:
                raise KeyboardInterrupt
            set_mode(model, "fake" if step >= 6 else "observe")

        torch.manual_seed(stop or 77)  # whatever state the process is in, it must not matter
        history = fit(
            objective,
            lambda position: loader.training(manifest, 8.0, position),
            settings(12),
            1,
            Checkpoints(name, "f"),
            name,
            before_step=before,
        )
        save_model(model, f"{name}.safetensors")
        return (tmp_path / f"{name}.safetensors").read_bytes() + repr(history).encode()

    undisturbed = train("undisturbed", None)
    with pytest.raises(KeyboardInterrupt):
        train("killed", killed_at)
    assert (tmp_path / "models/checkpoints/killed/state.json").exists()
    assert train("killed", None) == undisturbed


def test_checkpoint_of_another_training_is_not_resumed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    Checkpoints("x", fingerprint(["one"])).save(model, optimizer, {"step": 3})
    assert Checkpoints("x", fingerprint(["two"])).restore(model, optimizer) is None
    assert Checkpoints("x", fingerprint(["one"])).restore(model, optimizer) == {"step": 3}
    (tmp_path / "models/checkpoints/x/state.json").write_text('{"step": 3, "finger')
    assert Checkpoints("x", fingerprint(["one"])).restore(model, optimizer) is None


def test_fingerprint_tells_apart_what_joins_to_the_same_text():
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])


def test_a_loss_that_is_no_number_names_step_and_utterances(manifest, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objective = CTC(small(vocabulary=tokenizer.vocabulary))
    loader = Loader(tokenizer, [0.0] * 80, 1)

    def poisoned(position: Position):
        for number, batch in enumerate(loader.training(manifest, 8.0, position)):
            if number == 2:
                batch.features[0, 5] = float("nan")
            yield batch

    with pytest.raises(VelocityError, match=r"loss at step 2 is not a number; the batch holds u\d\d"):
        fit(objective, poisoned, settings(12), 1, Checkpoints("nan", "f"), "tones")


def test_masks_cover_half_and_only_speech():
    objective = MaskedSpectrogram(small(), Pretraining(settings(1), band_probability=0.0))
    torch.manual_seed(0)
    hidden = objective.mask(torch.zeros(40, 600, 80), torch.full((40,), 500))
    assert 0.46 < hidden[:, :500].float().mean() < 0.54
    assert not hidden[:, 500:].any()


def test_learning_rate_rises_and_falls():
    optimisation = settings(100, warmup=0.1)
    rates = [learning_rate(step, optimisation) for step in range(100)]
    assert rates[9] == max(rates) == optimisation.learning_rate
    assert rates[0] == pytest.approx(optimisation.learning_rate / 10)
    assert rates[-1] < optimisation.learning_rate / 1000
