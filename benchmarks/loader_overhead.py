"""What loading costs beside training: steps on batches made beforehand, and on batches loaded meanwhile, in turn.

    python benchmarks/loader_overhead.py [--distortions params|all|none] [--seconds 80] [--steps 6] [--rounds 4]

The reference model in bfloat16; FLAC files of modulated noise as long as sentences, read, distorted and turned into
features by the loader of the trainings. Both ways train on the same batches, and blocks of steps alternate (A B, B A),
so that other work on the machine meets both. Processor time is printed too, which other work disturbs less: what
loading takes of the processor time of a step is what it costs when both cores are busy, and less otherwise.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from velocity.stages import keep_memory  # first: it sets how many threads NumPy takes

if TYPE_CHECKING:
    from velocity.data.batches import Batch, Loader

UTTERANCES = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distortions", choices=["params", "all", "none"], default="params")
    parser.add_argument("--seconds", type=float, default=80.0, help="of audio a batch")
    parser.add_argument("--steps", type=int, default=6, help="in a block")
    parser.add_argument("--rounds", type=int, default=4, help="blocks of each kind")
    parser.add_argument("--precision", choices=["32-true", "bf16-mixed"], default="bf16-mixed")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    keep_memory()
    import torch
    from lightning_fabric import Fabric

    from velocity.config import load_params
    from velocity.config.augmentation import Augmentation
    from velocity.config.model import ModelConfig
    from velocity.config.optimisation import Optimisation
    from velocity.config.reader import default_section, read_params
    from velocity.data.batches import AHEAD, Loader
    from velocity.model.asr import VelocityModel
    from velocity.text import train_tokenizer
    from velocity.training.devices import set_determinism
    from velocity.training.objectives.ctc import CTC
    from velocity.training.optimiser import optimisers

    distortions = {
        "params": load_params().finetune.augmentation,
        "all": default_section("finetune.augmentation", Augmentation, rooms=0.3, noise=0.5, telephone=0.1, codec=0.1),
        "none": None,
    }
    set_determinism(options.threads)
    torch.manual_seed(0)
    reference = read_params("profiles/reference.yaml")["model"]
    model = VelocityModel(default_section("model", ModelConfig, **reference, vocabulary=256)).train()
    fabric = Fabric(accelerator="cpu", devices=1, precision=options.precision)
    objective, *optimizers = fabric.setup(
        CTC(model), *optimisers(model, default_section("finetune.optimisation", Optimisation))
    )

    def train(batches: Iterator[Batch]) -> tuple[list[float], float]:
        """Wall-clock seconds of each step, waiting for its batch included; processor seconds of all."""
        times, processor = [], time.process_time()
        for _ in range(options.steps):
            started = time.perf_counter()
            batch = next(batches)
            fabric.backward(objective(batch))
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            times.append(time.perf_counter() - started)
        return times, time.process_time() - processor

    with TemporaryDirectory() as folder:
        manifest, texts = record(Path(folder))
        tokenizer = train_tokenizer(texts, "characters", 256, Path(folder, "tokenizer.model"))
        loader = Loader(tokenizer, 1, distortions[options.distortions], options.threads)

        batches = list(islice(loader.training(manifest, options.seconds), options.steps + AHEAD))
        audio = sum(float(batch.lengths.sum()) / 100 for batch in batches[AHEAD:])
        train(iter(batches[AHEAD:]))  # not measured: memory is taken, kernels are chosen
        measured: dict[str, list[list[float]]] = {"memory": [], "loader": []}
        processors = {"memory": 0.0, "loader": 0.0}
        for number in range(options.rounds):
            for way in ("memory", "loader") if number % 2 == 0 else ("loader", "memory"):
                stream = iter(batches) if way == "memory" else loader.training(manifest, options.seconds)
                for _ in range(AHEAD):  # from here on, a batch is loaded for each that is trained on
                    next(stream)
                times, processor = train(stream)
                measured[way].append(times)
                processors[way] += processor
                if way == "loader":
                    stream.close()
        loading = processor_seconds(loader, manifest, options.seconds, options.steps + AHEAD)

    # A step's batch is the same in every round: the median over rounds leaves out what other work cost it.
    medians = {
        way: [sorted(step)[len(step) // 2] for step in zip(*rounds, strict=True)] for way, rounds in measured.items()
    }
    step, beside = (sum(medians[way]) / options.steps for way in ("memory", "loader"))
    training, both = (processors[way] / options.rounds / audio for way in ("memory", "loader"))
    print(
        f"{model.parameter_count():,} parameters, {options.precision}, {options.threads} threads, distortions: "
        f"{options.distortions}; {options.rounds} × {options.steps} steps of {audio / options.steps:.0f} s\n"
        f"a step: {step:.3f} s from memory, {beside:.3f} s beside loading: ratio {beside / step:.3f}\n"
        f"by round: {', '.join(f'{sum(b) / sum(a):.3f}' for a, b in zip(*measured.values(), strict=True))}\n"
        f"processor time a second of audio: {1e3 * training:.1f} ms to train, {1e3 * both:.1f} ms to train and load "
        f"(ratio {both / training:.3f}), {1e3 * loading:.2f} ms to load alone ({loading / training:.2%} of training)"
    )


def processor_seconds(loader: Loader, manifest: Path, seconds: float, count: int) -> float:
    """Processor seconds to load a second of audio, with nothing beside it."""
    stream = loader.training(manifest, seconds)
    next(stream)
    started, audio = time.process_time(), 0.0
    for batch in islice(stream, count):
        audio += float(batch.lengths.sum()) / 100
    stream.close()
    return (time.process_time() - started) / audio


def record(folder: Path) -> tuple[Path, list[str]]:
    """FLAC files of 5 to 15 s with the spectrum and the syllables of speech; their manifest of cuts, and texts."""
    import numpy as np
    import soundfile
    from lhotse import MonoCut, Recording, SupervisionSegment

    from velocity.audio import SAMPLE_RATE
    from velocity.data.manifests import to_line, write_lines

    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "seven", "people", "watch"]
    cuts, texts = [], []
    for index in range(UTTERANCES):
        random = np.random.default_rng(index)
        time = np.arange(int(random.uniform(5, 15) * SAMPLE_RATE)) / SAMPLE_RATE
        spectrum = np.fft.rfft(random.standard_normal(len(time)))
        spectrum /= 1 + (np.fft.rfftfreq(len(time), 1 / SAMPLE_RATE) / 500) ** 2
        samples = np.fft.irfft(spectrum, len(time)) * (0.52 + 0.48 * np.sin(8 * np.pi * time))
        path = folder / f"{index}.flac"
        soundfile.write(path, 0.5 * samples / np.abs(samples).max(), SAMPLE_RATE)
        recording = Recording.from_file(path, recording_id=f"noise/{index}")
        texts.append(" ".join(random.choice(words, int(2.5 * recording.duration))))
        supervision = SupervisionSegment(recording.id, recording.id, 0.0, recording.duration, text=texts[-1])
        cuts.append(MonoCut(recording.id, 0.0, recording.duration, 0, [supervision], recording=recording))
    write_lines(folder / "cuts.jsonl", (to_line(cut.to_dict()) for cut in cuts))
    return folder / "cuts.jsonl", texts


if __name__ == "__main__":
    main()
