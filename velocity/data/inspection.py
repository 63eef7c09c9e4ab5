"""What is measured of speech: every recording decoded once to its end, every transcript normalised."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np

from velocity.text import foreign_letters, normalize

# Names and versions of the measurements: another version whenever a row changes.
AUDIO_WORK, TEXT_WORK = "validate-audio-2", "validate-text-2"
PART = 500  # lines: what an interruption loses, and what a worker takes at a time

FULL_SCALE = 0.999  # a sample at least as large is clipped
SILENT_DB = -120.0  # the level of digital silence
BLOCK = 1 << 16  # frames decoded at a time
ENDLESS = (0, 0x7FFFFFFF, 0xFFFFFFFF)  # lengths in the header of what was written to a pipe: they promise nothing


def measure_recordings(recordings: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Lines of ``recordings.jsonl`` → rows of figures, in their order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(measure_recording, recordings))


def measure_recording(recording: Mapping[str, Any]) -> dict[str, Any]:
    """Decode one recording; what does not come counts as missing, and has no level."""
    import soundfile

    path = recording["sources"][0]["source"]
    rate, channels = recording["sampling_rate"], len(recording["channel_ids"] or [0])
    frames = clipped = not_numbers = 0
    total = energy = cut_off = 0.0
    content = blake2b(digest_size=8)
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels = file.samplerate, file.channels
            cut_off = missing_share(path) * file.frames / rate
            buffer = np.empty((min(BLOCK, file.frames), channels), dtype=np.float32)
            while len(block := file.read(out=buffer)):
                frames += len(block)
                content.update(block)
                samples = block.reshape(-1)
                power = float(np.dot(samples, samples))
                if not np.isfinite(power):
                    finite = np.isfinite(samples)
                    not_numbers += int(samples.size - finite.sum())
                    samples = np.where(finite, samples, 0.0)
                    power = float(np.square(samples, dtype=np.float64).sum())
                if samples.max() >= FULL_SCALE or samples.min() <= -FULL_SCALE:
                    clipped += int((np.abs(samples) >= FULL_SCALE).sum())
                total += float(samples.sum(dtype=np.float64))
                energy += power
    except (soundfile.LibsndfileError, OSError, RuntimeError):
        pass  # the frames that did not come are missing_seconds
    count = frames * channels
    seconds = frames / rate
    return {
        "id": recording["id"],
        "rate": rate,
        "channels": channels,
        "seconds": seconds,
        "missing_seconds": round(recording["duration"] - seconds + cut_off, 6),
        "level_db": _level_db(energy / count) if count else float("nan"),
        "clipped": clipped / count if count else 0.0,
        "dc_offset": round(total / count, 7) if count else 0.0,
        "not_numbers": not_numbers,
        "content": int.from_bytes(content.digest(), "big", signed=True),
    }


def _level_db(power: float) -> float:
    return round(max(SILENT_DB, 10 * float(np.log10(power))), 4) if power else SILENT_DB


def missing_share(path: str | Path) -> float:
    """How much more a WAV or AIFF header promises than the file holds, as a share of what it holds.

    The length is in bytes 4 to 8 of RIFF and FORM files. libsndfile believes the size of the file instead, so that a
    truncated one would decode to its end.
    """
    with open(path, "rb") as file:
        kind, length = file.read(4), file.read(4)
    if kind not in (b"RIFF", b"FORM"):
        return 0.0
    promised = int.from_bytes(length, "little" if kind == b"RIFF" else "big")
    held = os.path.getsize(path)
    return max(0, promised + 8 - held) / held if promised not in ENDLESS else 0.0


def measure_transcripts(supervisions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of ``supervisions.jsonl`` that have a text → rows of figures with it, normalised, in their order."""
    rows = []
    for segment in supervisions:
        if "text" not in segment:  # unlabelled: it only says who speaks
            continue
        text = normalize(segment["text"])
        words = text.split()
        rows.append(
            {
                "id": segment["id"],
                "recording": segment["recording_id"],
                "start": segment["start"],
                "seconds": segment["duration"],
                "text": text,
                "speaker": segment.get("speaker") or "",
                "part": (segment.get("custom") or {}).get("part", ""),
                "foreign_letters": len(foreign_letters(segment["text"])),
                "character_labels": len(text) + equal_neighbours(text),
                "word_labels": len(words) + equal_neighbours(words),
            }
        )
    return rows


def equal_neighbours(labels: Sequence[str]) -> int:
    """CTC puts a blank between two equal labels (Graves et al. 2006): each takes a frame more."""
    return sum(map(eq, labels, labels[1:]))
