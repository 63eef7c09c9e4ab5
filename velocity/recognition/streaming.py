"""Live recognition: PCM in pieces of any size, text as soon as it is certain. The light runtime only.

A feature frame needs 12.5 ms of audio after its centre, and the model takes ``chunk_frames`` of them at a time, 160 ms
in the shipped model. So a label is recognised at most 172.5 ms after its frame; CTC may place that frame after the
sound.

The model starts where a sound starts, as in training, and its state is reset after each utterance. Within an utterance
the result equals that of recognising all of it at once. Where text comes from phones, ``final`` is of a second pass
over the utterance, in which the model knows the voice from the first word on.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime

from velocity.audio import HOP, SAMPLE_RATE
from velocity.errors import VelocityError
from velocity.reading.arrays import mono
from velocity.reading.downmix import Downmix
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.decoding.words import Word
from velocity.recognition.language_model.choice import language_model, own_hotwords
from velocity.recognition.offline import FILES, PHONES, find_model
from velocity.recognition.onset import FeatureStream, Onset
from velocity.recognition.utterance import SETTLED, LetterUtterance, PhoneUtterance, Utterance, joined
from velocity.text import TextTokenizer

LOOK_BACK = 2  # chunks searched again after an endpoint: the next word may have begun in them
BEFORE = 3  # chunks of quiet given to the model before a sound, as in recordings; speech may begin softly
AT_ONCE = SAMPLE_RATE  # samples processed at a time, so that memory does not depend on the length of a piece


@dataclass(frozen=True)
class Endpoint:
    """When an utterance ends, in seconds. The model's state is then reset until the next sound: it was trained on
    single utterances that begin with their first word."""

    pause: float = 1.2  # without a letter or without sound, after at least one word
    silence: float = 1.2  # the same before the first word; no event is sent
    longest: float = 20.0  # then the next complete word ends it; after twice as long, it ends anyway


@dataclass(frozen=True)
class Event:
    """The state of an utterance; times in seconds from the beginning of the stream.

    ``stable`` only grows: each one begins with the one before, until ``final`` ends the utterance. ``partial`` are the
    words that may still change: of letters, the one being spoken. With a language model ``final`` has the text of the
    whole utterance decoded with it, which may differ from ``stable`` before. Both are empty when what seemed to be the
    first words turns out to be none.
    """

    type: Literal["partial", "final"]
    stable: str
    partial: str
    words: list[Word]  # in ``stable``
    start: float  # of the first word
    end: float  # of the last letter, including ``partial``
    received: float  # length of the stream so far

    @property
    def text(self) -> str:
        return f"{self.stable} {self.partial}".strip()


class StreamingASR:
    """A causal recogniser exported as ``onnx-streaming`` or ``onnx-streaming-int8``.

    >>> stream = StreamingASR.from_pretrained("models/export").stream()
    >>> for piece in microphone:
    ...     for event in stream.accept(piece):
    ...         print(event.type, event.text)
    >>> stream.finish()
    """

    def __init__(self, folder: str | Path, threads: int = 1, lm: str | Path | None = None) -> None:
        """Load the artefact in ``folder``; ``lm`` is a language model, as for ``VelocityASR``.

        Raises VelocityError when it is broken or not a streaming model.
        """
        self.folder = Path(folder)
        for name in FILES:
            if not (self.folder / name).is_file():
                raise VelocityError(f"{self.folder}: no {name}: not an exported model")
        try:
            self.config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            self.tokenizer = TextTokenizer(self.folder / "tokenizer.model")
            self.frame_seconds = self.config["frame_seconds"]
            self.stride = round(self.frame_seconds * SAMPLE_RATE / HOP)  # feature frames per model frame
            if "streaming" not in self.config:
                raise VelocityError(
                    f"{self.folder}: does not stream: train with model.direction: causal, then "
                    "`velocity-asr export --target onnx-streaming`"
                )
            layout = self.config["streaming"]
            self.chunk_frames, self.lead_frames = layout["chunk_frames"], layout["lead_frames"]
            self._initial = {name: np.zeros(each["shape"], each["dtype"]) for name, each in layout["state"].items()}
            self._after = [layout["after"] + name for name in self._initial]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VelocityError(
                f"{self.folder / 'config.json'}: not the configuration of an exported model; export it again"
            ) from error
        model, hotwords = language_model(self.folder, self.config, lm), own_hotwords(self.folder, self.config, lm)
        weights = (
            {} if model is None else {"lm": model.ngram, "lm_weight": model.weight, "word_bonus": model.word_bonus}
        )
        # May be replaced.
        self.decoder = Decoder(self.tokenizer, self.frame_seconds, hotwords=hotwords, **weights)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        path = self.folder / "model.onnx"
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base class but Exception
            raise VelocityError(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from error
        if {each.name for each in self._session.get_inputs()} != {"mel_spectrogram", *self._initial}:
            raise VelocityError(f"{path}: its state is not that of config.json; export the model again")
        self.gives_phones = PHONES in {each.name for each in self._session.get_outputs()}

    @classmethod
    def from_pretrained(
        cls, model: str | Path, quantized: bool = False, threads: int = 1, lm: str | Path | None = None
    ) -> StreamingASR:
        """Load ``model``: an exported folder, a folder with several (``onnx-streaming/``, ``onnx-streaming-int8/``), or
        anything else that ``VelocityASR.from_pretrained`` takes. Raises VelocityError if it has no streaming model."""
        chosen = Path(model) / ("onnx-streaming-int8" if quantized else "onnx-streaming")
        return cls(chosen if chosen.is_dir() else find_model(model, quantized), threads, lm)

    def stream(self, endpoint: Endpoint | None = None) -> Stream:
        """A new stream. Several may be open at once."""
        return Stream(self, endpoint or Endpoint())

    def transcribe_stream(self, pieces: Iterable[np.ndarray], endpoint: Endpoint | None = None) -> Iterator[Event]:
        """Yield the events of ``pieces``, each (samples,) at 16 kHz, as they occur."""
        stream = self.stream(endpoint)
        for piece in pieces:
            yield from stream.accept(piece)
        yield from stream.finish()

    @property
    def reads_phones(self) -> bool:
        """Whether text comes from phones: the model gives them, and ``decoder`` makes words of them."""
        return self.gives_phones and self.decoder.reads_phones

    def step(
        self, mel: np.ndarray, state: dict[str, np.ndarray], phones: bool = False
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """mel (frames, 80), frames a multiple of ``chunk_frames`` → (frames', V) log-posteriors, with ``phones`` those
        of the phones, and the next state."""
        outputs = [PHONES if phones else "log_probs", *self._after]
        log_probs, *after = self._session.run(outputs, {"mel_spectrogram": mel[None], **state})
        return log_probs[0], dict(zip(self._initial, after, strict=True))

    def initial_state(self) -> dict[str, np.ndarray]:
        return dict(self._initial)


class Stream:
    """One stream of audio, of any length in constant memory. Its events do not depend on the sizes of the pieces."""

    def __init__(self, model: StreamingASR, endpoint: Endpoint) -> None:
        self._model, self._endpoint, self._phones = model, endpoint, model.reads_phones
        self._features = FeatureStream(model.lead_frames)
        self._onset, self._downmix = Onset(), Downmix(SAMPLE_RATE)
        self._recent: deque[Chunk] = deque(maxlen=LOOK_BACK + BEFORE)
        self._samples, self._steps, self._finished = 0, 0, False
        self._utterance: Utterance | None = None  # None: waiting for an onset
        self._chunks: list[Chunk] = []  # of the utterance

    @property
    def seconds(self) -> float:
        """The length of the stream so far."""
        return self._samples / SAMPLE_RATE

    def accept(self, samples: np.ndarray) -> list[Event]:
        """The next samples at 16 kHz → the resulting events, in order. Their types and shapes are those of
        ``VelocityASR.transcribe``.

        Raises VelocityError for others, NaN or Inf, and after ``finish``.
        """
        if self._finished:
            raise VelocityError("this stream is finished: open a new one")
        samples = mono(samples, self._downmix)
        self._samples += len(samples)
        events = []
        for start in range(0, len(samples), AT_ONCE):
            self._features.accept(samples[start : start + AT_ONCE])
            while (mel := self._features.take(self._model.chunk_frames)) is not None:
                events += self._process(mel)
        return events

    def finish(self) -> list[Event]:
        """End the stream: at most one event, with the rest of the utterance."""
        if not self._finished:
            self._finished = True
            model, rest = self._model, self._features.rest()
            steps = -(-(len(rest) - model.lead_frames) // model.stride)
            if steps > 0:
                mel = np.pad(rest, ((0, -len(rest) % model.chunk_frames), (0, 0)))
                self._take(Chunk(mel, steps, self._onset.find(rest)))
            if self._utterance and self._utterance.words():
                return [self._event("final")]
        return []

    def _process(self, mel: np.ndarray) -> list[Event]:
        """The next (chunk_frames, 80) of the stream."""
        self._take(Chunk(mel, len(mel) // self._model.stride, self._onset.find(mel)))
        events = []
        if self._utterance and self._over():
            if self._utterance.words():
                events.append(self._event("final"))
            # Go back by at most half of the pause, so that the last word is not recognised twice.
            half = max(self._utterance.quiet, self._onset.quiet // self._model.stride) // 2
            again = min(half // self._recent[-1].steps, LOOK_BACK)
            while len(self._recent) > again:
                self._recent.popleft()
            self._begin(again)
        if self._utterance and (shown := self._utterance.stable_and_partial()) != self._shown:
            self._shown = shown
            events.append(self._event("partial"))
        return events

    def _take(self, chunk: Chunk) -> None:
        self._recent.append(chunk)
        self._steps += chunk.steps
        if self._utterance:
            self._step(chunk)
        else:
            self._begin(1)

    def _begin(self, newest: int) -> None:
        """Start a new utterance at an onset in the ``newest`` chunks, or none if there is no onset."""
        self._utterance, recent = None, list(self._recent)
        for index in range(len(recent) - newest, len(recent)):
            if recent[index].onset is not None:
                start = recent[max(0, index - BEFORE) :]
                self._state, self._chunks, self._shown = self._model.initial_state(), [], ("", "")
                kind = PhoneUtterance if self._phones else LetterUtterance
                self._utterance = kind(self._steps - sum(chunk.steps for chunk in start), self._model.decoder)
                for chunk in start:
                    self._step(chunk)
                return

    def _step(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        log_probs, self._state = self._model.step(chunk.mel, self._state, self._phones)
        self._utterance.add(log_probs[: chunk.steps])

    def _again(self) -> np.ndarray:
        """The utterance's (frames, classes) log-posteriors of phones, from its beginning with the state after it."""
        mel = np.concatenate([chunk.mel for chunk in self._chunks])
        log_probs, _ = self._model.step(mel, self._state, phones=True)
        return log_probs[: sum(chunk.steps for chunk in self._chunks)]

    def _over(self) -> bool:
        rule, utterance, frame = self._endpoint, self._utterance, self._model.frame_seconds
        length = (utterance.end - utterance.start) * frame
        quiet = max(utterance.quiet * frame, self._onset.quiet * HOP / SAMPLE_RATE)  # noise may give letters
        if not utterance.words():
            pause = rule.silence
        else:
            pause = rule.pause if length < rule.longest else min(SETTLED, rule.pause)
        return quiet >= pause or length >= 2 * rule.longest

    def _event(self, type: Literal["partial", "final"]) -> Event:
        if type == "final":
            words = self._utterance.final(self._again() if self._phones else None)
            count = len(words)
        else:
            count = self._utterance.settle()
            words = self._utterance.words()
        stable, partial = joined(words[:count]), joined(words[count:])
        if words:  # else those of the event before were no words
            self._span = words[0].start, min(words[-1].end, self.seconds)  # the last frame may end after the stream
        return Event(type, stable, partial, words[:count], *self._span, self.seconds)


class Chunk(NamedTuple):
    mel: np.ndarray  # (frames, 80)
    steps: int  # its model frames that are part of the stream, not padding
    onset: int | None  # the frame of an onset, if there is one
