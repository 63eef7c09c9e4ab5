"""Arrays of samples, as NumPy, soundfile, torchaudio and others give them, → mono float32."""

from __future__ import annotations

from typing import Any

import numpy as np

from velocity.errors import VelocityError
from velocity.reading.downmix import Downmix

LOUDEST = 1e9  # full scale is 1; integers stored as floats stay below this, and their power is finite
FULL_SCALE = {"int8": 128.0, "uint8": 128.0, "int16": 32768.0, "int32": 2147483648.0}
LONGER = 100  # times the channels that samples must be: a spectrogram, or a batch, is no recording


def is_array(value: object) -> bool:
    """Whether it is an array, a tensor, or a list or tuple of numbers."""
    return hasattr(value, "__array__") or (isinstance(value, (list, tuple)) and all(map(np.isscalar, value[:1])))


def mono(value: Any, downmix: Downmix) -> np.ndarray:
    """An array of samples → (samples,) float32, full scale 1.

    NumPy or torch, of shape (samples,), (samples, channels) as soundfile gives it, or (channels, samples) as torchaudio
    does: channels are the axis that is a hundred times shorter. They become one as those of files do. Floats are taken
    as they are; int8, int16 and int32 as fractions of their range, and uint8 too, around 128.
    Raises VelocityError for another type or shape, and for NaN, Inf and values beyond 1e9.
    """
    samples = scaled(value)
    if samples.ndim == 2 and 1 in samples.shape:
        samples = samples.reshape(-1)
    if samples.ndim == 2 and 0 < min(samples.shape) * LONGER <= max(samples.shape):
        samples = downmix(samples.T if samples.shape[0] < samples.shape[1] else samples)
    if samples.ndim != 1:
        shapes = "(samples,), (samples, channels) or (channels, samples)"
        raise VelocityError(f"audio of shape {samples.shape}: expected {shapes}")
    return samples


def scaled(value: Any) -> np.ndarray:
    """Numbers of any accepted type as float32, full scale 1, of the same shape. Raises VelocityError as ``mono``."""
    if hasattr(value, "detach"):  # a tensor, perhaps on a GPU, and perhaps of a type that NumPy lacks
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise VelocityError(f"audio that is no array ({str(error).splitlines()[0]})") from error
    kind = array.dtype.name
    if kind in FULL_SCALE:
        samples = (array.astype(np.float32) - np.float32(128 * (kind == "uint8"))) / np.float32(FULL_SCALE[kind])
    elif array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is refused below
            samples = array.astype(np.float32, copy=False)
    else:
        raise VelocityError(f"audio of type {kind}: expected floats in [-1, 1], int8, uint8, int16 or int32")
    if not is_sound(samples):
        raise VelocityError(f"audio with NaN, Inf or values beyond {LOUDEST:g}: expected floats in [-1, 1]")
    return samples


def is_sound(samples: np.ndarray) -> bool:
    """Whether there is no NaN, no Inf, and nothing beyond any sound."""
    return bool((np.abs(samples) < LOUDEST).all())
