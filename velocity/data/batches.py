"""Batches of features: Lhotse decides which utterances go together, this loads them while the model computes.

A training set is read block by block: BLOCK consecutive lines of its manifest, which lies shuffled on disk. Each epoch
takes the blocks in an order of its own, and each block is sampled by itself, so that memory holds one block of
metadata whatever the size of the corpus, and a position deep in an epoch is reached without the batches before it.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import torch
from lhotse import CutSet, MonoCut
from lhotse.dataset import DynamicBucketingSampler
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from velocity.audio import compute_mel_spectrogram
from velocity.config.augmentation import Augmentation
from velocity.data.distortion import Distortion
from velocity.data.shards import Shards, load_cut
from velocity.errors import VelocityError
from velocity.text import TextTokenizer

BLOCK = 20_000  # utterances
BUCKETS = 8  # groups of similar length
AHEAD = 3  # batches prepared while one is trained on


Example = tuple[str, np.ndarray, list[int]]  # id, (frames, 80) features, classes of the text


class Position(NamedTuple):
    """A place in the endless sequence of batches: all there is to know to go on from it."""

    epoch: int = 0
    block: int = 0  # in the order of the epoch
    batch: int = 0  # in the block

    def following(self) -> Position:
        return self._replace(batch=self.batch + 1)


START = Position()


@dataclass  # not frozen: Fabric casts what it is handed in place of the fields
class Batch:
    """b utterances, padded with zeros to the longest."""

    ids: list[str]
    features: Tensor  # (b, frames, 80) float32, raw log-mel
    lengths: Tensor  # (b,) int64, frames
    targets: Tensor  # (b, longest) int64
    target_lengths: Tensor  # (b,) int64
    position: Position = START  # among the batches of a training
    augmented: bool = False

    def to(self, device: torch.device) -> Batch:
        tensors = (self.features, self.lengths, self.targets, self.target_lengths)
        return Batch(self.ids, *(tensor.to(device) for tensor in tensors), self.position, self.augmented)


class Loader:
    """Turns cuts into batches, distorted by ``augmentation`` but for its masks, which the objective applies.

    No batch of the first epoch is distorted, every one from epoch ``ramp`` on, and in between a share that rises, so
    that what was learned from clean speech is not lost at once. ``shards`` holds the audio of training cuts that were
    put there. Training batches are made by ``threads`` threads, or where ``processes`` is not 0 by as many processes: a
    GPU hears faster than one interpreter can distort.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer | None,
        seed: int,
        augmentation: Augmentation | None = None,
        threads: int = 2,
        shards: Shards | None = None,
        processes: int = 0,
        ramp: int = 0,
    ) -> None:
        self._arguments = (tokenizer, seed, augmentation, threads, shards, processes, ramp)
        self.tokenizer, self.seed = tokenizer, seed
        self.augmentation = augmentation
        self.distortion = Distortion(augmentation, seed) if augmentation else None
        self.threads, self.shards, self.processes = threads, shards, processes
        self.ramp = ramp

    def __reduce__(self) -> tuple[type[Loader], tuple[Any, ...]]:
        """In another process it is made anew: what distorts cannot be sent."""
        return Loader, self._arguments

    def training(
        self, path: str | Path, batch_seconds: float, start: Position = START, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Endless batches of the cuts in the manifest ``path``, as ``plan_batches`` orders them, from ``start`` on.
        With a tokenizer, cuts without text are passed over.

        What the batch of a position holds, and every distortion in it, follows from the seed and the position alone.
        """
        plan = plan_batches(path, batch_seconds, self.seed, start, rank, world_size, self.tokenizer is not None)
        if self.processes:
            # Not forks of this process, which break where it holds a GPU; they share one import of what they need.
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload([__name__])
            yield from DataLoader(
                Planned(self),
                sampler=plan,
                batch_size=None,
                num_workers=self.processes,
                collate_fn=_as_it_is,
                multiprocessing_context=context,
            )
            return
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(self.threads) as readers:
            pending = [ahead.submit(self._next, plan, readers) for _ in range(AHEAD)]
            try:
                while True:
                    batch = pending.pop(0).result()
                    pending.append(ahead.submit(self._next, plan, readers))
                    yield batch
            finally:
                for future in pending:
                    future.cancel()

    def plain(self, cuts: CutSet, batch_seconds: float) -> Iterator[Batch]:
        """Every utterance once, longest first, undistorted."""
        ordered = sorted(cuts, key=lambda cut: (-cut.duration, cut.id))
        with ThreadPoolExecutor(self.threads) as readers:
            while ordered:
                fitting = max(1, int(batch_seconds / ordered[0].duration))
                yield self._collate(list(readers.map(self._plain_example, ordered[:fitting])))
                del ordered[:fitting]

    def _next(self, plan: Iterator[tuple[Position, CutSet]], readers: ThreadPoolExecutor) -> Batch:
        position, cuts = next(plan)
        groups, around = self._arrange(list(cuts), position)
        batch = self._collate(list(readers.map(lambda group: self._example(group, around, position), groups)))
        return replace(batch, position=position, augmented=self._augments(position))

    def _augments(self, position: Position) -> bool:
        """The same in all processes of a training, whose batches at a position take about the same time."""
        if self.augmentation is None or position.epoch >= self.ramp:
            return self.augmentation is not None
        return np.random.default_rng([*position, self.seed]).random() < position.epoch / self.ramp

    def _arrange(self, cuts: list[MonoCut], position: Position) -> tuple[list[list[MonoCut]], float]:
        """The cuts of a batch that become one utterance, and the seconds of quiet around each."""
        together, around = 1, 0.0
        if self._augments(position):
            random = np.random.default_rng([self.seed, *position])
            together, around = self.augmentation.draw(max(cut.duration for cut in cuts), random)
        return [cuts[first : first + together] for first in range(0, len(cuts), together)], around

    def _example(self, cuts: list[MonoCut], around: float, position: Position) -> Example:
        """One or several cuts as one utterance, each distorted by itself."""
        if not self._augments(position):
            return self._plain_example(*cuts)
        parts = []
        for cut in cuts:
            random = np.random.default_rng([self.seed, position.epoch, crc32(cut.id.encode())])
            parts.append(self.distortion.distort(load_cut(cut, self.shards), random))
        samples = self.augmentation.join(parts, around, random) if around or len(parts) > 1 else parts[0]
        text = " ".join(cut.supervisions[0].text for cut in cuts) if self.tokenizer else ""
        return "+".join(cut.id for cut in cuts), compute_mel_spectrogram(samples), self._target(text)

    def _plain_example(self, cut: MonoCut) -> Example:
        samples = load_cut(cut, self.shards)
        return (
            cut.id,
            compute_mel_spectrogram(samples),
            self._target(cut.supervisions[0].text if self.tokenizer else ""),
        )

    def _target(self, text: str) -> list[int]:
        return self.tokenizer.encode(text) if self.tokenizer else []

    @staticmethod
    def _collate(examples: list[Example]) -> Batch:
        ids, features, targets = zip(*examples, strict=True)
        longest, most = max(map(len, features)), max(map(len, targets))
        padded = np.zeros((len(ids), longest, features[0].shape[1]), dtype=np.float32)
        labels = np.zeros((len(ids), most), dtype=np.int64)
        for row, (mel, target) in enumerate(zip(features, targets, strict=True)):
            padded[row, : len(mel)] = mel
            labels[row, : len(target)] = target
        lengths = (torch.tensor([len(item) for item in items]) for items in (features, targets))
        mel_lengths, target_lengths = lengths
        return Batch(list(ids), torch.from_numpy(padded), mel_lengths, torch.from_numpy(labels), target_lengths)


class Planned(Dataset):
    """The batch of each (position, cuts) of a plan, for the processes of a DataLoader."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def __getitem__(self, planned: tuple[Position, CutSet]) -> Batch:
        position, cuts = planned
        loader = self.loader
        groups, around = loader._arrange(list(cuts), position)
        batch = loader._collate([loader._example(group, around, position) for group in groups])
        return replace(batch, position=position, augmented=loader._augments(position))


def _as_it_is(batch: Batch) -> Batch:
    return batch


def plan_batches(
    path: str | Path,
    batch_seconds: float,
    seed: int,
    start: Position = START,
    rank: int = 0,
    world_size: int = 1,
    with_text: bool = False,
) -> Iterator[tuple[Position, CutSet]]:
    """(position, cuts of a batch) without end from ``start`` on; similar lengths, padded ``batch_seconds`` long.

    What a position holds follows from the manifest and the seed alone. Of ``world_size`` processes each takes batches
    of its own, the same number of them; together they take every cut once, but where the last of a block do not go
    round: then some are taken twice, as ``<id>_dup0``.
    Raises VelocityError when the manifest is missing, empty or faulty.
    """
    borders = _block_borders(path)
    for epoch in count(start.epoch):
        order = np.random.default_rng([seed, epoch]).permutation(len(borders) - 1).tolist()
        for place in range(start.block, len(order)):
            block = order[place]
            cuts = _read_block(path, borders[block], borders[block + 1])
            if with_text:
                cuts = [cut for cut in cuts if cut.supervisions]
            if not cuts:
                continue
            sampler = DynamicBucketingSampler(
                cuts,
                max_duration=batch_seconds,
                shuffle=True,
                duration_bins=_bins(cuts),
                buffer_size=max(BLOCK, len(cuts)),  # the whole block is shuffled
                seed=crc32(f"{seed}/{epoch}/{block}".encode()),
                rank=rank,
                world_size=world_size,
            )
            for number, batch in islice(enumerate(sampler), start.batch, None):
                yield Position(epoch, place, number), batch
            start = start._replace(batch=0)
        start = START


def _bins(cuts: list[MonoCut]) -> list[float]:
    """The lengths that part the cuts in buckets of about the same number of seconds."""
    lengths = np.sort([cut.duration for cut in cuts])
    buckets = min(BUCKETS, max(2, len(cuts) // 20))
    shares = np.cumsum(lengths) / lengths.sum()
    return lengths[np.searchsorted(shares, np.arange(1, buckets) / buckets)].tolist()


def _block_borders(path: str | Path) -> list[int]:
    """The bytes where the blocks of a manifest begin, and its size; a short rest belongs to the block before it."""
    borders, end, rest = [0], 0, 0
    try:
        with open(path, "rb") as file:
            for line in file:
                end += len(line)
                rest += 1
                if rest == BLOCK:
                    borders.append(end)
                    rest = 0
    except OSError as error:
        raise VelocityError(f"{path}: {error.strerror.lower()}; run the earlier stages first") from error
    if not end:
        raise VelocityError(f"{path}: holds no utterances to train on")
    if rest < BLOCK // 2 and len(borders) > 1:
        borders.pop()
    return [*borders, end] if borders[-1] < end else borders


def _read_block(path: str | Path, first: int, end: int) -> list[MonoCut]:
    with open(path, "rb") as file:
        file.seek(first)
        lines = file.read(end - first).splitlines()
    try:
        return [cut for line in lines for cut in _repeated(MonoCut.from_dict(json.loads(line)))]
    except (ValueError, TypeError, AttributeError) as error:
        raise VelocityError(f"{path}: not a manifest of cuts, from byte {first} on: {error}") from error


def _repeated(cut: MonoCut) -> Iterator[MonoCut]:
    """The cut as often as its corpus' ``repeat`` says, under names of their own: each is distorted differently."""
    yield cut
    for number in range(2, 1 + (cut.custom or {}).get("repeat", 1)):
        yield replace(cut, id=f"{cut.id}#{number}")
