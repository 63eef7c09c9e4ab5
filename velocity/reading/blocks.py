"""Blocks of samples, (n, channels) float32 each, that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

BLOCK = 1 << 17  # samples of all channels together, decoded at a time


def stretch(blocks: Iterable[np.ndarray], first: int, frames: int | None = None) -> Iterator[np.ndarray]:
    """``frames`` frames (None: all) of ``blocks`` from frame ``first`` on."""
    for block in blocks:
        block, first = block[first:], max(0, first - len(block))
        if frames is not None:
            block, frames = block[:frames], frames - len(block[:frames])
        if len(block):
            yield block
        if frames == 0:
            return


def conformed(blocks: Iterable[np.ndarray], own: tuple[int, int], wanted: tuple[int, int]) -> Iterable[np.ndarray]:
    """``blocks`` of one (rate in Hz, channels) as those of another."""
    if own == wanted:
        return blocks
    return _resampled(_with_channels(blocks, own[1], wanted[1]), own[0], wanted[0], wanted[1])


def _with_channels(blocks: Iterable[np.ndarray], own: int, wanted: int) -> Iterator[np.ndarray]:
    for block in blocks:
        yield block if own == wanted else np.repeat(block.mean(axis=1, keepdims=True), wanted, axis=1)


def _resampled(blocks: Iterable[np.ndarray], rate: int, wanted: int, channels: int) -> Iterator[np.ndarray]:
    if rate == wanted:
        yield from blocks
        return
    import soxr

    resampler = soxr.ResampleStream(rate, wanted, channels, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.empty((0, channels), dtype=np.float32), last=True)
