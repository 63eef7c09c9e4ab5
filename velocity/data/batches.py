"""Batches of features: Lhotse decides which utterances go together, this loads them while the model computes."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import torch
from lhotse import CutSet, MonoCut
from lhotse.dataset import DynamicBucketingSampler
from torch import Tensor

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram, load_audio
from velocity.config import Augmentation
from velocity.data.augmentation import distort, mask_features
from velocity.text import TextTokenizer

BUCKETS = 8
AHEAD = 3  # batches prepared while one is trained on


@dataclass  # not frozen: Fabric casts what it is handed in place of the fields
class Batch:
    """b utterances, padded with zeros to the longest."""

    ids: list[str]
    features: Tensor  # (b, frames, 80) float32, raw log-mel
    lengths: Tensor  # (b,) int64, frames
    targets: Tensor  # (b, longest) int64
    target_lengths: Tensor  # (b,) int64

    def to(self, device: torch.device) -> Batch:
        tensors = (self.features, self.lengths, self.targets, self.target_lengths)
        return Batch(self.ids, *(tensor.to(device) for tensor in tensors))


def load_cut(cut: MonoCut) -> np.ndarray:
    """The waveform of a cut: (samples,) float32 at 16 kHz."""
    samples = load_audio(cut.recording.sources[0].source)
    start = round(cut.start * SAMPLE_RATE)
    return samples[start : start + round(cut.duration * SAMPLE_RATE)]


class Loader:
    """Turns cuts into batches; ``fill`` (80,) is what masked features become, the mean of each bin."""

    def __init__(
        self,
        tokenizer: TextTokenizer | None,
        fill: Sequence[float],
        seed: int,
        augmentation: Augmentation | None = None,
        threads: int = 2,
    ) -> None:
        self.tokenizer, self.fill, self.seed, self.augmentation = tokenizer, np.float32(fill), seed, augmentation
        self.threads = threads

    def training(self, cuts: CutSet, batch_seconds: float, first: int = 0) -> Iterator[Batch]:
        """Endless batches of at most ``batch_seconds`` of audio, from batch number ``first`` on.

        What batch k holds, and every distortion in it, follows from the seed and k alone.
        """
        plan = islice(_plan(cuts, batch_seconds, self.seed), first, None)
        with ThreadPoolExecutor(1) as ahead, ThreadPoolExecutor(self.threads) as readers:
            pending = [ahead.submit(self._load, *next(plan), readers) for _ in range(AHEAD)]
            try:
                while True:
                    batch = pending.pop(0).result()
                    pending.append(ahead.submit(self._load, *next(plan), readers))
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

    def _load(self, epoch: int, cuts: CutSet, readers: ThreadPoolExecutor) -> Batch:
        return self._collate(list(readers.map(lambda cut: self._example(cut, epoch), cuts)))

    def _example(self, cut: MonoCut, epoch: int) -> tuple[str, np.ndarray, list[int]]:
        if self.augmentation is None:
            return self._plain_example(cut)
        random = np.random.default_rng([self.seed, epoch, zlib.crc32(cut.id.encode())])
        features = compute_mel_spectrogram(distort(load_cut(cut), self.augmentation, random))
        return cut.id, mask_features(features, self.augmentation, self.fill, random), self._target(cut)

    def _plain_example(self, cut: MonoCut) -> tuple[str, np.ndarray, list[int]]:
        return cut.id, compute_mel_spectrogram(load_cut(cut)), self._target(cut)

    def _target(self, cut: MonoCut) -> list[int]:
        return self.tokenizer.encode(cut.supervisions[0].text) if self.tokenizer else []

    @staticmethod
    def _collate(examples: list[tuple[str, np.ndarray, list[int]]]) -> Batch:
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


def _plan(cuts: CutSet, batch_seconds: float, seed: int) -> Iterator[tuple[int, CutSet]]:
    """(epoch, cuts of a batch) without end; similar lengths together, in an order of its own each epoch."""
    # The sampler prefers lazy manifests; ours is in memory anyway, for its length and its order.
    warnings.filterwarnings("ignore", message="You are using DynamicBucketingSampler with an eagerly read CutSet")
    for epoch in count():
        sampler = DynamicBucketingSampler(
            cuts,
            max_duration=batch_seconds,
            shuffle=True,
            num_buckets=min(BUCKETS, max(2, len(cuts) // 20)),
            seed=seed,
            rank=0,
            world_size=1,
        )
        sampler.set_epoch(epoch)
        for batch in sampler:
            yield epoch, batch
