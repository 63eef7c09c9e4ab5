"""Made-up speech that a small model learns in seconds: every letter is a pure tone."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from tests.model.test_asr import small
from velocity.config.augmentation import Augmentation
from velocity.config.optimisation import Optimisation
from velocity.config.reader import default_section
from velocity.data.batches import Batch, Loader
from velocity.data.manifests import to_line, write_lines
from velocity.data.statistics import measure_features
from velocity.quantization.linear import quantize_linears
from velocity.text import TextTokenizer, train_tokenizer
from velocity.training.objectives.ctc import CTC

LETTERS = "abcdefgh"


def tone_cuts(folder: Path, count: int = 20) -> CutSet:
    """Utterances of three 'letters', written to ``folder``."""
    random, found = np.random.default_rng(0), []
    for number in range(count):
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


def write_tones(folder: Path, count: int = 20) -> Path:
    """A manifest of tones, and the tokenizer beside it."""
    train_tokenizer(["a"], "characters", 0, folder / "tokenizer.model")
    write_lines(folder / "train.jsonl", (to_line(cut.to_dict()) for cut in tone_cuts(folder, count)))
    return folder / "train.jsonl"


def tone_loader(manifest: Path, augmentation: Augmentation | None = None) -> Loader:
    return Loader(TextTokenizer(manifest.parent / "tokenizer.model"), 1, augmentation, threads=1)


def tone_objective(manifest: Path, quantised: bool = True, **changes) -> CTC:
    torch.manual_seed(5)
    model = small(vocabulary=TextTokenizer(manifest.parent / "tokenizer.model").vocabulary, **changes)
    return CTC(quantize_linears(model) if quantised else model)


def statistics(cuts: CutSet) -> dict[str, list[float]]:
    return measure_features(cuts)


def settings(steps: int, **changes) -> Optimisation:
    own = {
        "devices": 1,
        "batch_seconds": 8.0,
        "learning_rate": 0.004,
        "checkpoint_every": 4,
        "validate_every": 1000,
        **changes,
    }
    return default_section("finetune.optimisation", Optimisation, steps=steps, **own)


def made_up(utterances: int, seed: int, longest: int = 60) -> Batch:
    """Noise of unequal lengths with random labels: a batch that nothing can be learned from."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.randint(longest // 2, longest + 1, (utterances,), generator=random)
    lengths[0] = longest
    labels = torch.randint(2, 6, (utterances,), generator=random)
    return Batch(
        [f"s{seed}u{number}" for number in range(utterances)],
        torch.randn(utterances, longest, 80, generator=random),
        lengths,
        torch.randint(1, 10, (utterances, int(labels.max())), generator=random),
        labels,
    )
