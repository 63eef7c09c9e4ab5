"""espeak-ng's library: speech, and the phonemes of words."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import numpy as np

from velocity.errors import VelocityError

SEPARATOR = "_"  # between phonemes


@lru_cache(maxsize=1)
def espeak() -> Espeak:
    return Espeak()


class Espeak:
    """The C library, synchronous, its samples taken by a callback. One a process: it is global and not thread-safe."""

    SYNCHRONOUS, CHARACTERS, UTF8 = 2, 1, 1  # enumerations of speak_lib.h
    RATE, VOLUME, PITCH = 1, 2, 3

    def __init__(self) -> None:
        try:
            import espeakng_loader

            self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        except (ImportError, OSError) as error:
            advice = "pip install 'velocity-asr[train]'"
            raise VelocityError(f"espeak-ng, which speaks and pronounces words, is missing: {advice}") from error
        data = str(espeakng_loader.get_data_path()).encode()
        self.rate = self._library.espeak_Initialize(self.SYNCHRONOUS, 0, data, 0)  # Hz
        if self.rate <= 0:
            raise VelocityError("espeak-ng does not start; reinstall espeakng-loader")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self._blocks: list[bytes] = []
        signature = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._callback = signature(self._collect)  # kept alive here: the library holds only its address
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: int | None, count: int, _events: int) -> int:
        if samples and count > 0:
            self._blocks.append(ctypes.string_at(samples, 2 * count))
        return 0  # go on

    def phonemes(self, text: str, voice: str) -> list[str]:
        """Mnemonics of phonemes, with espeak-ng's marks of stress. Raises VelocityError for an unknown voice."""
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise VelocityError(f"espeak-ng has no voice {voice!r}")
        buffer = ctypes.create_string_buffer(text.encode())
        rest = ctypes.c_void_p(ctypes.addressof(buffer))  # moves on by a clause with each call
        found = []
        while rest.value:
            clause = self._library.espeak_TextToPhonemes(ctypes.byref(rest), self.UTF8, ord(SEPARATOR) << 8)
            found += clause.decode().split(SEPARATOR)
        return found

    def speak(self, text: str, voice: str, words_a_minute: float, pitch: float, seed: int) -> np.ndarray:
        """(samples,) float32 in [-1, 1] at ``rate`` Hz; ``seed`` is that of breath noise, else taken from the clock.

        Raises VelocityError for an unknown voice.
        """
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise VelocityError(f"espeak-ng has no voice {voice!r}")
        for parameter, value in (
            (self.RATE, round(words_a_minute)),
            (self.VOLUME, 80),
            (self.PITCH, min(99, max(0, round(pitch)))),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        data = text.encode() + b"\0"
        self._library.espeak_Synth(data, len(data), 0, self.CHARACTERS, 0, self.UTF8, None, None)
        return np.frombuffer(b"".join(self._blocks), dtype=np.int16).astype(np.float32) / 32768
