"""The recogniser with its features inside: samples in, log-posteriors out, the numbers of ``velocity.audio``.

The spectrum is a fast Fourier transform of two stages (Cooley & Tukey 1965, "An algorithm for the machine calculation
of complex Fourier series"), each a product with a small constant matrix: every exporter knows that, and its constants
are 100 kB with the mel filters where those of one 400 × 514 product would be 900.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from velocity.audio import FFT, FLOOR, HOP, WINDOW, mel_filters, window

COLUMNS = 16  # sample n = 16·row + column of a frame's (25, 16), frequency k = 32·j + i: i is of the first stage, j of
ROWS = FFT // COLUMNS  # the second. 32 rows with those that are zero
KEPT = ROWS // 2 + 1  # i ≤ 16: the power at k is that at 512 - k, where i > 16 becomes 32 - i
BLOCK = math.gcd(HOP, WINDOW)  # samples: what frames and their hops are whole numbers of


class WaveformModel(nn.Module):
    """``log_probs, lengths = model(waveform)`` with waveform (b, samples) float32 at 16 kHz, every sample valid."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.config = model, model.config
        self.features = MelFeatures()

    def forward(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        return self.model(self.features(waveform))


class MelFeatures(nn.Module):
    """``velocity.audio.compute_mel_spectrogram`` of a batch: (b, samples) → (b, ⌈samples / 160⌉, 80)."""

    def __init__(self) -> None:
        super().__init__()
        row, column = np.arange(WINDOW // COLUMNS), np.arange(COLUMNS)
        first, second = np.arange(KEPT), np.arange(COLUMNS)
        turn = lambda angle: np.stack([np.cos(2 * np.pi * angle), -np.sin(2 * np.pi * angle)])  # noqa: E731  real, imag
        rows = turn(np.outer(row, first) / ROWS)  # (2, 25, 17)
        twiddle = turn(np.outer(column, first) / FFT)  # (2, 16, 17)
        real, imag = turn(np.outer(column, second) / COLUMNS)  # (16, 16) each
        columns = np.block([[real, imag], [-imag, real]])  # of (real | imag) to (real | imag)
        k = ROWS * second + first[:, None]  # (17, 16)
        filters = mel_filters()[np.minimum(k, FFT - k)]  # (17, 16, 80)
        twice = (k > FFT // 2) & np.isin(first, (0, KEPT - 1))[:, None]  # k and 512 - k are both there
        filters = np.where(twice[..., None], 0.0, filters).reshape(-1, filters.shape[-1])  # (272, 80)
        constants = {"window": window().reshape(-1, COLUMNS), "rows": np.concatenate(list(rows), -1)}
        constants |= {"twiddle_real": twiddle[0], "twiddle_imag": twiddle[1], "columns": columns, "filters": filters}
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(value.astype(np.float32)), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        b, samples = waveform.shape
        frames = (samples + HOP - 1) // HOP
        blocks = (frames - 1) * (HOP // BLOCK) + WINDOW // BLOCK
        # Frame t is centred on sample 160·t, and the signal is zero outside itself.
        x = F.pad(waveform, (WINDOW // 2, WINDOW // 2))[:, : blocks * BLOCK].reshape(b, blocks, BLOCK)
        first_blocks = 1 + (HOP // BLOCK) * (frames - 1)  # how far the first block of the last frame reaches
        x = torch.cat([x[:, i : i + first_blocks : HOP // BLOCK] for i in range(WINDOW // BLOCK)], -1)  # (b, t, 400)
        x = x.reshape(b, frames, WINDOW // COLUMNS, COLUMNS) * self.window  # (b, t, 25, 16)
        real, imag = (x.transpose(-1, -2) @ self.rows).chunk(2, -1)  # (b, t, 16, 17) each
        real, imag = (
            real * self.twiddle_real - imag * self.twiddle_imag,
            real * self.twiddle_imag + imag * self.twiddle_real,
        )
        spectrum = torch.cat([real, imag], -2).transpose(-1, -2) @ self.columns  # (b, t, 17, 32): real | imag
        real, imag = spectrum.chunk(2, -1)
        power = (real * real + imag * imag).reshape(b, frames, KEPT * COLUMNS)
        return torch.log(power @ self.filters + FLOOR)
