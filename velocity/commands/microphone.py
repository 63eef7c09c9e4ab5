"""The microphone, read piece by piece."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.errors import VelocityError


def pieces(seconds: float, device: str | None = None) -> Iterator[np.ndarray]:
    """Pieces of ``seconds``, (samples,) int16 at 16 kHz, without end; the device is open as long as they are read.

    ``device``: its number or a part of its name, as sounddevice lists them; None: the default microphone.
    Raises VelocityError without sounddevice or a microphone.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: PortAudio is missing
        raise VelocityError(
            f"the microphone needs sounddevice ({error}): pip install 'velocity-asr[microphone]', "
            "on Linux also apt-get install libportaudio2"
        ) from error
    size = round(seconds * SAMPLE_RATE)
    chosen = int(device) if device and device.isdecimal() else device
    try:
        with sounddevice.InputStream(SAMPLE_RATE, size, device=chosen, channels=1, dtype="int16") as stream:
            while True:
                samples, _ = stream.read(size)
                yield samples[:, 0]
    except (sounddevice.PortAudioError, ValueError) as error:  # ValueError: no device, or several, of this name
        reason = str(error).splitlines()[0]
        named = "the microphone" if device is None else f"the microphone {device!r}"
        advice = "`python -m sounddevice` lists the devices"
        raise VelocityError(f"{named} cannot be opened ({reason}); {advice}") from error
