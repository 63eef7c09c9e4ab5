"""``velocity-asr stream``: live audio in, text out as soon as it is certain."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from velocity.audio import SAMPLE_RATE, read_blocks
from velocity.commands.models import EXPORTED, SHIPPED_STREAMING
from velocity.errors import VelocityError
from velocity.recognition.streaming import Event, Stream, StreamingASR

Writer = Callable[[Event, float], None]  # an event, and its latency: seconds from the end of its last letter


def load(model: str | None, quantized: bool, threads: int, lm: Path | None = None) -> StreamingASR:
    """The recogniser of ``--model M``; without M, this project's exported streaming model or else the shipped one.

    Raises VelocityError for a model that does not stream.
    """
    exported = any((EXPORTED / target).is_dir() for target in ("onnx-streaming", "onnx-streaming-int8"))
    chosen = model or (EXPORTED if exported else SHIPPED_STREAMING)
    return StreamingASR.from_pretrained(chosen, quantized, threads, lm)


def listen(stream: Stream, pieces: Iterable[np.ndarray], write: Writer) -> None:
    """Recognise ``pieces`` until they end or Ctrl-C is pressed, then finish the last utterance."""
    try:
        for piece in pieces:
            started = time.perf_counter()
            events = stream.accept(piece)
            took = time.perf_counter() - started
            for event in events:
                write(event, event.received - event.end + took)
    except KeyboardInterrupt:
        pass  # the way to stop a microphone
    for event in stream.finish():
        write(event, event.received - event.end)


def raw_pieces(file: BinaryIO, rate: int, channels: int, seconds: float) -> Iterator[np.ndarray]:
    """16-bit little-endian PCM → mono pieces at 16 kHz. Raises VelocityError for a file with a header."""
    resampler = None
    if rate != SAMPLE_RATE:
        import soxr

        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    size, first = max(1, round(seconds * rate)) * 2 * channels, True
    while data := file.read(size):
        if first and data[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM"):
            raise VelocityError(
                "-: an audio file, but raw samples are expected: give the name of the file, "
                "or pipe the output of `ffmpeg -i … -f s16le -ar 16000 -ac 1 -`"
            )
        first = False
        samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], dtype="<i2")
        mono = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32) / 32768
        yield mono if resampler is None else resampler.resample_chunk(mono)
    if resampler is not None:
        yield resampler.resample_chunk(np.empty(0, dtype=np.float32), last=True)


def file_pieces(path: Path, seconds: float, live: bool) -> Iterator[np.ndarray]:
    """An audio file in pieces of ``seconds``; ``live``: each at the time when it would have been spoken."""
    size, buffer, started, yielded = round(seconds * SAMPLE_RATE), np.empty(0, dtype=np.float32), time.monotonic(), 0
    for block in read_blocks(path):
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= size:
            yielded += size
            if live:
                time.sleep(max(0.0, started + yielded / SAMPLE_RATE - time.monotonic()))
            yield buffer[:size]
            buffer = buffer[size:]
    yield buffer


def write_json(event: Event, latency: float) -> None:
    value: dict[str, Any] = {"type": event.type, "text": event.text, "stable": event.stable}
    value |= {"start": round(event.start, 3), "end": round(event.end, 3), "latency": round(latency, 3)}
    if event.type == "final":
        value["words"] = [
            {"word": w.text, "start": round(w.start, 3), "end": round(w.end, 3), "confidence": round(w.confidence, 4)}
            for w in event.words
        ]
    print(json.dumps(value, ensure_ascii=False), flush=True)


def write_text(event: Event, latency: float) -> None:
    """One line per utterance. On a terminal it grows while it is spoken, with the unstable part dimmed."""
    if event.type == "final":
        print(f"\r\x1b[K{event.text}" if sys.stdout.isatty() else event.text, flush=True)
    elif sys.stdout.isatty():
        import shutil

        width = shutil.get_terminal_size().columns - 1
        stable = event.stable[-max(0, width - len(event.partial) - 1) :]
        print(f"\r\x1b[K{stable} \x1b[2m{event.partial[-width:]}\x1b[0m", end="", flush=True)
