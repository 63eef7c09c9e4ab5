"""Half the frame rate: pairs of frames become one, and one becomes two again.

Speech changes slowly beyond its first features, so the middle blocks take half as many frames, at half the cost
(Kim et al. 2022, "Squeezeformer", section 3.1; Yao et al. 2024, "Zipformer", section 2.1).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def halve(x: Tensor, mask: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """The means of pairs of frames: x (b, l, d), mask (b, l, 1) → (b, ⌈l / 2⌉, d) and its mask (b, ⌈l / 2⌉, 1).

    Pair k is of the frames 2k and 2k + 1; of 2k - 1 and 2k if ``causal``, so that ``double`` gives no frame anything of
    a later one. Where only one of both is of the utterance, it is that one.
    """
    padding = (0, 0, 1, 0) if causal else (0, 0, 0, 1)
    x, mask = (F.pad(part, padding) for part in (x * mask, mask))  # (b, l + 1, …)
    first, second = mask[:, :-1:2], mask[:, 1::2]  # (b, ⌈l / 2⌉, 1)
    return (x[:, :-1:2] + x[:, 1::2]) / (first + second).clamp(min=1), torch.maximum(first, second)


def double(x: Tensor, frames: int) -> Tensor:
    """Each frame twice: (b, ⌈frames / 2⌉, d) → (b, frames, d)."""
    b, pairs, d = x.shape
    return x.unsqueeze(2).expand(b, pairs, 2, d).reshape(b, 2 * pairs, d)[:, :frames]
