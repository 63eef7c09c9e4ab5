"""The level of the speech, taken out of the features: how far away or how quiet a talker is says nothing of the words.

Log-mel energies are natural logarithms of power: 2.3 are 10 dB, and 0 is a tone at full scale.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEAR = 301  # frames: the level is that of the loudest within a second and a half on either side
PAST = 126  # frames: in a causal model within the last second and a quarter
FAR = 1501  # frames of the past that a causal model compares with
DEEPEST = 6.0  # 26 dB: no pause and no second talker is raised further, beside the loudest of the utterance
QUIETEST = -10.0  # -43 dB: nothing is raised further, so that a recording of silence stays silent
RANGE = 15.0  # 65 dB below the level everything is alike: digital silence, and the noise of a microphone


class LevelNormalisation(nn.Module):
    """Log-mel (b, frames, bins) → log-mel less the level around each frame, not below -RANGE.

    A causal model knows the past alone, and its first word sets the level. Padding changes nothing.
    """

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal = causal

    def forward(self, mel: Tensor, mask: Tensor) -> Tensor:
        """mel (b, frames, bins), mask (b, frames, 1) 1.0 on frames of the utterance → (b, frames, bins)."""
        peak = loudness(mel, mask)
        if self.causal:
            peak = F.pad(peak, (FAR - 1, 0), value=2 * QUIETEST)
            return subtract(mel, self.past_level(peak))
        near = loudest(peak, NEAR, NEAR // 2)  # (b, 1, frames)
        return subtract(mel, torch.maximum(near, peak.amax(-1, keepdim=True) - DEEPEST).clamp(min=QUIETEST))

    @staticmethod
    def past_level(peak: Tensor) -> Tensor:
        """Loudness of frames after the FAR - 1 before them, (b, 1, FAR - 1 + frames) → their level (b, 1, frames)."""
        near = loudest(peak[..., FAR - PAST :], PAST)
        return torch.maximum(near, loudest(peak, FAR) - DEEPEST).clamp(min=QUIETEST)


def loudness(mel: Tensor, mask: Tensor) -> Tensor:
    """The loudest bin of each frame, far below any sound on padding: (b, frames, bins) → (b, 1, frames)."""
    return (mel.amax(-1, keepdim=True) * mask + 2 * QUIETEST * (1 - mask)).transpose(1, 2)


def loudest(peak: Tensor, window: int, padding: int = 0) -> Tensor:
    """The maximum over each ``window`` frames: (b, 1, frames) → (b, 1, frames + 2 · padding - window + 1).

    Pooled as an image: the pooling of one dimension cannot be exported for any length.
    """
    return F.max_pool2d(peak.unsqueeze(2), (1, window), 1, (0, padding)).squeeze(2)


def subtract(mel: Tensor, level: Tensor) -> Tensor:
    """mel (b, frames, bins) less level (b, 1, frames), not below -RANGE."""
    return (mel - level.transpose(1, 2)).clamp(min=-RANGE)
