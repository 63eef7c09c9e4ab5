"""The recurrent part of a language model: an LSTM of words, in eight bits and less.

Its probabilities are mixed with those of the n-grams by the search for words in phones, which alone computes with it
(``velocity/recognition/decoding/wasm``); ``velocity.training.recurrent`` trains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

WIDTH, UNITS = 128, 512  # of the embeddings and of the LSTM
RARE = 0  # the row of all words that have no row of their own
LEVELS = 5.0  # of an embedding's values in their standard deviation: deflated, they then take some four bits each
MOST = 127


@dataclass(frozen=True)
class Recurrent:
    """ln P(w | h) = step · embedding_w · LSTM(h) + bias_w. The probabilities add up to about 1. The LSTM is PyTorch's
    with ``proj_size`` (gates in the order input, forget, cell, output): its output is projected before it is used and
    fed back (Sak et al. 2014, "Long short-term memory recurrent neural network architectures"). Its inputs are the
    embeddings times ``step`` and its last output, its one bias is the sum of PyTorch's two.

    ``share`` of it in the mixture with the n-grams. ``words`` (rows - 1,) uint32: the ids of the words of the rows
    after RARE. int8: ``embeddings`` (rows, WIDTH), times ``step``; ``input_gates`` and ``output_gates`` (4 · UNITS,
    WIDTH), for the embedding and for the last output, and ``projection`` (WIDTH, UNITS), each row times its scale.
    All other arrays are float32.
    """

    share: float
    step: float
    words: np.ndarray
    biases: np.ndarray
    input_scales: np.ndarray
    output_scales: np.ndarray
    gate_biases: np.ndarray
    projection_scales: np.ndarray
    embeddings: np.ndarray
    input_gates: np.ndarray
    output_gates: np.ndarray
    projection: np.ndarray

    @classmethod
    def of(
        cls,
        share: float,
        words: np.ndarray,
        embeddings: np.ndarray,
        biases: np.ndarray,
        gates: tuple[np.ndarray, np.ndarray, np.ndarray],
        projection: np.ndarray,
    ) -> Recurrent:
        """Rounded from float32; ``gates``: for the embedding, for the last output, and biases."""
        step = float(embeddings.std()) / LEVELS
        rounded, scales = zip(*map(_rounded, (*gates[:2], projection)), strict=True)
        return cls(
            share=share,
            step=step,
            words=words.astype("<u4"),
            biases=biases,
            input_scales=scales[0],
            output_scales=scales[1],
            gate_biases=gates[2],
            projection_scales=scales[2],
            embeddings=np.clip(np.rint(embeddings / step), -MOST, MOST).astype(np.int8),
            input_gates=rounded[0],
            output_gates=rounded[1],
            projection=rounded[2],
        )

    def packed(self) -> bytes:
        """Its arrays in their order, little-endian: those of four bytes first, as all must be aligned."""
        return b"".join(getattr(self, name).astype(dtype).tobytes() for name, dtype, _ in _layout(len(self.biases)))

    @classmethod
    def unpacked(cls, data: bytes, rows: int, share: float, step: float) -> Recurrent:
        """What ``packed`` gave. Raises ValueError for other sizes."""
        arrays: dict[str, Any] = {}
        offset = 0
        for name, dtype, shape in _layout(rows):
            count = int(np.prod(shape))
            arrays[name] = np.frombuffer(data, dtype, count, offset).reshape(shape)
            offset += arrays[name].nbytes
        if offset != len(data) or not 0 < share < 1 or not step > 0:
            raise ValueError("a recurrent network of another size")
        return cls(share, step, **arrays)


def _layout(rows: int) -> list[tuple[str, str, Sequence[int]]]:
    """The name, type and shape of each array."""
    gates = 4 * UNITS
    shapes = [(rows - 1,), (rows,), (gates,), (gates,), (gates,), (WIDTH,)]
    shapes += [(rows, WIDTH), (gates, WIDTH), (gates, WIDTH), (WIDTH, UNITS)]
    dtypes = ["<u4", *5 * ["<f4"], *4 * ["i1"]]
    names = [field.name for field in fields(Recurrent)][2:]
    return list(zip(names, dtypes, shapes, strict=True))


def _rounded(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, m) → int8 (n, m) and scales (n,)."""
    scales = np.maximum(np.abs(weights).max(1), 1e-12) / MOST
    return np.rint(weights / scales[:, None]).astype(np.int8), scales.astype(np.float32)
