"""Memory and speed of manifest handling against the number of utterances: ``python benchmarks/manifest_scale.py``.

Writes manifests of --utterances N of metadata below --folder (no audio; as many hours and speakers an utterance as
Libri-Light: 60 000 hours and 7 439 speakers at 5 million), then goes through what fetch, prepare and training do with
them. Each step is a process of its own; its peak memory has Python and its libraries in it, which the step "imports"
shows alone. The folder is emptied step by step. --json FILE keeps the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from velocity.corpora import utterances as reading
from velocity.corpora.kinds.folder import FolderCorpus
from velocity.data.batches import START, Position, plan_batches
from velocity.data.cuts import place_cuts, write_splits
from velocity.data.manifests import read_utterances, save_manifests
from velocity.data.splits import Splits
from velocity.files import write_json
from velocity.text import train_tokenizer

SECONDS, SPEAKERS = 43.2, 7439  # an utterance; of all
WORDS = ("the", "question", "of", "her", "own", "letters", "was", "before", "him", "again", "seven", "mountains")
CORPUS = FolderCorpus(kind="folder", source="", test=0.02, validation=0.01)
SEED = 1
BATCHES, BATCH_SECONDS = 2000, 600.0


@dataclass(frozen=True)
class Item:
    """A recording as Lhotse would write it, made in a tenth of the time."""

    id: str
    fields: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.fields


@dataclass(frozen=True)
class Segment(Item):
    """A supervision as Lhotse would write it."""

    @property
    def recording_id(self) -> str:
        return self.id


def recordings(count: int) -> Iterator[Item]:
    for name, _, seconds in utterances(count):
        audio = {"type": "file", "channels": [0], "source": f"data/raw/speech/{name}.flac"}
        fields = {"id": name, "sources": [audio], "sampling_rate": 16_000, "num_samples": round(seconds * 16_000),
                  "duration": seconds, "channel_ids": [0]}  # fmt: skip
        yield Item(name, fields)


def supervisions(count: int) -> Iterator[Item]:
    for index, (name, speaker, seconds) in enumerate(utterances(count)):
        text = " ".join(WORDS[(index * prime) % len(WORDS)] for prime in range(1, 34))
        custom = {"corpus": "speech", "synthetic": False}
        fields = {"id": name, "recording_id": name, "start": 0.0, "duration": seconds, "channel": 0, "text": text,
                  "language": "English", "speaker": speaker, "custom": custom}  # fmt: skip
        yield Segment(name, fields)


def utterances(count: int) -> Iterator[tuple[str, str, float]]:
    """(id, speaker, seconds), the speakers taking turns: far from sorted."""
    random = np.random.default_rng(0)
    for first in range(0, count, 100_000):
        block = np.clip(random.normal(SECONDS, 15.0, 100_000), 2.0, 2 * SECONDS - 2.0).round(3).tolist()
        for index, seconds in zip(range(first, min(count, first + 100_000)), block, strict=False):
            speaker = f"{index % SPEAKERS:05d}"
            yield f"speech/{speaker}-{index:08d}", speaker, seconds


def imports(folder: Path, count: int) -> int:
    return 0


def write(folder: Path, count: int) -> int:
    save_manifests(chain(recordings(count), supervisions(count)), folder / "manifests/speech")
    return count


def fetch(folder: Path, count: int) -> int:
    """All of a reader but the opening of audio files: joins audio and transcripts, writes the manifests."""
    reading._read_header = lambda path: (1, 16_000, round(SECONDS * 16_000))
    text = " ".join(WORDS * 3)[:-10]
    audio = ((name, Path(f"data/raw/speech/{name}.flac")) for name, _, _ in utterances(count))
    transcripts = (
        (name, reading.Transcript(text, f"{name}.trans.txt line 1", speaker)) for name, speaker, _ in utterances(count)
    )
    save_manifests(reading.describe("speech", audio, transcripts), folder / "fetched")
    shutil.rmtree(folder / "fetched")
    return count


def read(folder: Path, count: int) -> int:
    return sum(len(segments) for _, segments in read_utterances(folder / "manifests/speech"))


def split(folder: Path, count: int) -> int:
    Splits.read({"speech": CORPUS}, folder / "manifests", SEED)
    return count


def cuts(folder: Path, count: int) -> int:
    (folder / "prepared").mkdir()
    splits = Splits.read({"speech": CORPUS}, folder / "manifests", SEED)
    tokenizer = train_tokenizer([], "characters", 0, folder / "tokenizer.model")
    alignable = lambda text, frames: tokenizer.ctc_frames(text) <= -(-frames // 2)  # noqa: E731
    placed = place_cuts("speech", CORPUS, folder / "manifests/speech", splits, set(), alignable)
    summary = write_splits(placed, SEED, folder / "prepared")
    shutil.rmtree(folder / "manifests")
    return sum(figures["utterances"] for name, figures in summary["splits"].items() if name != "pretrain")


def sample(folder: Path, count: int) -> int:
    """Batches from the start and from deep inside a later epoch."""
    total = 0
    for start in (START, Position(epoch=3, block=count // 40_000, batch=100)):
        plan = plan_batches(folder / "prepared/train.jsonl", BATCH_SECONDS, SEED, start)
        total += sum(len(batch) for _, batch in islice(plan, BATCHES))
    return total


STEPS: dict[str, Callable[[Path, int], int]] = {
    step.__name__: step for step in (imports, fetch, write, read, split, cuts, sample)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, nargs="+", default=[5_000_000])
    parser.add_argument(
        "--folder", type=Path, required=True, help="takes 4 GB a million utterances; emptied at the end"
    )
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        started = time.perf_counter()
        done = STEPS[arguments.step](arguments.folder, *arguments.utterances)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"done": done, "seconds": time.perf_counter() - started, "peak_rss_bytes": peak}))
        return
    figures = json.loads(arguments.json.read_text()) if arguments.json and arguments.json.exists() else []
    print(f"{'utterances':>10}  {'step':8}  {'seconds':>8}  {'a second':>9}  {'peak MB':>8}")
    for count in arguments.utterances:
        folder = arguments.folder / str(count)
        folder.mkdir(parents=True)
        for step in STEPS:
            command = [sys.executable, __file__, "--step", step, "--utterances", str(count), "--folder", str(folder)]
            result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            figures.append({"utterances": count, "step": step, **result})
            speed = f"{result['done'] / result['seconds']:.0f}" if result["done"] else ""
            peak = result["peak_rss_bytes"] / 1e6
            print(f"{count:>10}  {step:8}  {result['seconds']:>8.1f}  {speed:>9}  {peak:>8.0f}", flush=True)
            if arguments.json:
                write_json(arguments.json, figures)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
