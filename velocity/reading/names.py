"""Which files are audio, by their names, and which are what systems leave beside them."""

from __future__ import annotations

from pathlib import Path

from velocity.reading.ffmpeg import SUFFIXES

_SNDFILE = ".flac .wav .ogg .oga .opus .mp3 .mp2 .aiff .aif .aifc .au .snd .caf .w64 .rf64 .sph .nist .voc"
AUDIO_SUFFIXES = (*_SNDFILE.split(), *SUFFIXES)
LEFTOVERS = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r")


def is_leftover(path: Path) -> bool:
    """What macOS and Windows leave on disks, cards and shares: ``._speech.wav`` has an icon, not the speech."""
    return path.name.startswith("._") or path.name.lower() in LEFTOVERS


def is_audio(path: Path) -> bool:
    """By its ending."""
    return path.suffix.lower() in AUDIO_SUFFIXES and not is_leftover(path)
