"""What is measured of speech: every recording decoded once to its end, every transcript normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from operator import eq
from typing import Any

import numpy as np

from velocity.errors import VelocityError
from velocity.reading.recording import open_recording
from velocity.text import foreign_letters, normalize

# Names and versions of the measurements: another version whenever a row changes.
AUDIO_WORK, TEXT_WORK = "validate-audio-4", "validate-text-2"
PART = 500  # lines: what an interruption loses, and what a worker takes at a time

FULL_SCALE = 0.999  # a sample at least as large is clipped
SILENT_DB = -120.0  # the level of digital silence


def measure_recordings(recordings: list[dict[str, Any]], threads: int) -> list[dict[str, Any]]:
    """Lines of ``recordings.jsonl`` → rows of figures, in their order."""
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(measure_recording, recordings))


def measure_recording(recording: Mapping[str, Any]) -> dict[str, Any]:
    """Decode one recording; what does not come counts as missing, and has no level."""
    path = recording["sources"][0]["source"]
    rate, channels = recording["sampling_rate"], len(recording["channel_ids"] or [0])
    frames = clipped = not_numbers = 0
    total = energy = cut_off = 0.0
    content = blake2b(digest_size=8)
    try:
        with open_recording(path) as file:
            rate, channels = file.rate, file.channels
            for block in file.blocks():
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
            cut_off = file.missing
    except VelocityError:
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
