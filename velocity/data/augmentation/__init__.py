"""Training-time augmentation: each module holds one effect, ``EFFECT``, with its settings and how it is applied.

An effect draws from the generator that it is given alone, so that what happens to an utterance follows from the seed,
the epoch and its id. ``velocity.config.augmentation`` finds the modules; ``velocity.data.distortion`` applies them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from velocity.config.section import section

if TYPE_CHECKING:
    from torch import Tensor

Apply = Callable[..., Any]


@section
class Effect:
    """Settings of one effect: its fields are keys of ``finetune.augmentation``, its methods see them all."""

    order: ClassVar[int]  # on the way from a talker to the recogniser
    masks: ClassVar[bool] = False  # applied to features instead of samples
    off: ClassVar[Mapping[str, Any]]  # the values that switch it off

    def check(self) -> None:
        """Raise ValueError, naming the key, for values that make no sense."""

    def prepare(self, seed: int) -> Apply | None:
        """What applies it, with all that it needs read or simulated; None when it is off.

        On samples: (samples,) float32 at 16 kHz, generator → the same, possibly of another length. An effect that
        ``masks`` says instead, by ``hidden``, which features a batch loses.
        """
        raise NotImplementedError

    def hidden(self, lengths: Tensor, frames: int, bins: int) -> Tensor | None:
        """Lengths in frames (b,) → boolean, broadcasts to (b, frames, bins), True where nothing is shown; None when it
        is off. Drawn by torch's generator, on the device of the model."""
        raise NotImplementedError


def in_share(share: float, apply: Apply) -> Apply | None:
    """``apply`` to this share of the utterances, drawn for each; None for none."""
    return (lambda samples, random: apply(samples, random) if random.random() < share else samples) if share else None
