"""espeak-ng as a synthesiser: a hundred voices, robotic, 700 times faster than real time."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from velocity.errors import VelocityError

WORDS_A_MINUTE = (165, 220)  # of a voice
SEPARATOR = "_"  # between phonemes
PITCH = (35, 65)  # of a voice, espeak-ng's 0 to 100; its variant shifts and scales it


@dataclass(frozen=True)
class EspeakVoice:
    """``name`` is espeak-ng's (``en-gb+f3``); the pitch and the speed are this voice's own."""

    speaker: str
    name: str
    pitch: float
    words_a_minute: float

    def speak(self, text: str, speed: float, pitch: float, seed: int) -> tuple[np.ndarray, int]:
        """(samples,) float32 in [-1, 1] and their rate in Hz; ``speed`` and ``pitch`` multiply the voice's own."""
        library = espeak()
        return library.speak(text, self.name, self.words_a_minute * speed, self.pitch * pitch, seed), library.rate


def espeak_voices(accents: list[str], speakers: dict[str, list[str]], count: int, seed: int) -> list[EspeakVoice]:
    """``count`` different voices: every variant once before any has a second accent.

    ``speakers`` is a list of variants by kind of speaker. Raises VelocityError when there are fewer voices.
    """
    variants = [(speaker, variant) for speaker, variants in speakers.items() for variant in variants]
    most = len(variants) * len(accents)
    if count > most:
        raise VelocityError(f"voices: {count} asked for, but the corpus description has {most}")
    voices = []
    for index in range(count):
        turn, place = divmod(index, len(variants))
        speaker, variant = variants[place]
        random = np.random.default_rng([seed, 1, index])
        name = f"{accents[(place + turn) % len(accents)]}+{variant}"
        voices.append(EspeakVoice(speaker, name, random.uniform(*PITCH), random.uniform(*WORDS_A_MINUTE)))
    return voices


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
        except ImportError as error:
            raise VelocityError("synthetic speech needs espeak-ng: pip install 'velocity-asr[train]'") from error

        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
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
        """The mnemonics of espeak-ng's phonemes, with its marks of stress. Raises VelocityError for an unknown voice."""
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
