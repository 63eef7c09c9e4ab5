"""Live recognition: PCM in pieces of any size, text as soon as it is certain. NumPy and onnxruntime alone.

A feature frame needs 12.5 ms of sound after its centre, and the model hears eight of its own frames at a time: with
frames of 20 ms a letter is known 172.5 ms after its frame at the latest, and a frame follows the sound as CTC likes.

The model begins where a sound does, as it did in training, and begins anew after each utterance; what it says of the
sound from there is what it would say of the whole at once.
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
from velocity.recognition.decoding.pieces import pieces
from velocity.recognition.decoding.words import EARLY, LATE, Word, spelled
from velocity.recognition.offline import FILES, find_model
from velocity.recognition.onset import FeatureStream, Onset
from velocity.text import TextTokenizer

SETTLED = 0.24  # seconds of blanks after which a word is taken for complete, its border not having come
LOOK_BACK = 2  # chunks searched once more after an endpoint: the next word may have begun in them
BEFORE = 3  # chunks of quiet the model hears before a sound, as in recordings of people; speech may begin softly
AT_ONCE = SAMPLE_RATE  # samples taken from a piece at a time, so that a long one costs no memory of its length


@dataclass(frozen=True)
class Endpoint:
    """When an utterance is over, in seconds. The model then begins anew with the next sound: it was trained on
    utterances that begin with their first word, not on days."""

    pause: float = 1.2  # without a letter or without a sound, once something was said
    silence: float = 1.2  # the same while nothing was said; no event tells of it
    longest: float = 20.0  # after that the next complete word ends it, and twice as long any


@dataclass(frozen=True)
class Event:
    """What is known of an utterance; times in seconds from the beginning of the stream.

    ``stable`` only ever grows: each begins with the one before it, until ``final`` ends the utterance. ``partial`` is
    the word that is being said.
    """

    type: Literal["partial", "final"]
    stable: str
    partial: str
    words: list[Word]  # of ``stable``
    start: float  # of the first word
    end: float  # of the last letter, that of ``partial`` included
    heard: float  # how much of the stream had been given

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

    def __init__(self, folder: str | Path, threads: int = 1) -> None:
        """Load the artefact in ``folder``. Raises VelocityError when it is none that streams, or broken."""
        self.folder = Path(folder)
        for name in FILES:
            if not (self.folder / name).is_file():
                raise VelocityError(f"{self.folder}: no {name}: not an exported model")
        try:
            self.config = json.loads((self.folder / "config.json").read_text(encoding="utf-8"))
            self.tokenizer = TextTokenizer(self.folder / "tokenizer.model")
            self.pieces, self.blank = pieces(self.tokenizer), self.config["blank"]
            self.frame_seconds = self.config["frame_seconds"]
            self.stride = round(self.frame_seconds * SAMPLE_RATE / HOP)  # feature frames a model frame
            if "streaming" not in self.config:
                raise VelocityError(
                    f"{self.folder}: does not stream: train with model.direction: causal, then "
                    "`velocity-asr export --target onnx-streaming`"
                )
            told = self.config["streaming"]
            self.chunk_frames, self.lead_frames = told["chunk_frames"], told["lead_frames"]
            self._initial = {name: np.zeros(each["shape"], each["dtype"]) for name, each in told["state"].items()}
            self._outputs = ["log_probs", *(told["after"] + name for name in self._initial)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise VelocityError(f"{self.folder / 'config.json'}: not of an exported model; export it again") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        path = self.folder / "model.onnx"
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base but Exception
            raise VelocityError(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from error
        if {each.name for each in self._session.get_inputs()} != {"mel_spectrogram", *self._initial}:
            raise VelocityError(f"{path}: its state is not that of config.json; export the model again")

    @classmethod
    def from_pretrained(cls, model: str | Path, quantized: bool = False, threads: int = 1) -> StreamingASR:
        """Load ``model``: an exported folder, a folder of such (``onnx-streaming/``, ``onnx-streaming-int8/``), or what
        else ``VelocityASR.from_pretrained`` takes. Raises VelocityError when there is none that streams."""
        wanted = Path(model) / ("onnx-streaming-int8" if quantized else "onnx-streaming")
        return cls(wanted if wanted.is_dir() else find_model(model, quantized), threads)

    def stream(self, endpoint: Endpoint | None = None) -> Stream:
        """A new stream of sound. Many may be open at once."""
        return Stream(self, endpoint or Endpoint())

    def transcribe_stream(self, pieces: Iterable[np.ndarray], endpoint: Endpoint | None = None) -> Iterator[Event]:
        """Yield the events of ``pieces``, each (samples,) at 16 kHz, as they come."""
        stream = self.stream(endpoint)
        for piece in pieces:
            yield from stream.accept(piece)
        yield from stream.finish()

    def step(self, mel: np.ndarray, state: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """mel (frames, 80), frames a multiple of ``chunk_frames`` → (frames', V) log-posteriors and the next state."""
        log_probs, *after = self._session.run(self._outputs, {"mel_spectrogram": mel[None], **state})
        return log_probs[0], dict(zip(self._initial, after, strict=True))

    def initial_state(self) -> dict[str, np.ndarray]:
        return dict(self._initial)


class Stream:
    """One stream of sound, of any length in the same memory. Its events do not depend on how the sound is cut."""

    def __init__(self, model: StreamingASR, endpoint: Endpoint) -> None:
        self._model, self._endpoint = model, endpoint
        self._features = FeatureStream(model.lead_frames)
        self._onset = Onset()
        self._recent: deque[Chunk] = deque(maxlen=LOOK_BACK + BEFORE)
        self._samples, self._steps, self._finished = 0, 0, False
        self._utterance: Utterance | None = None  # None: waiting for a sound

    @property
    def seconds(self) -> float:
        """How much has been given."""
        return self._samples / SAMPLE_RATE

    def accept(self, samples: np.ndarray) -> list[Event]:
        """The next (samples,) at 16 kHz, float in [-1, 1] or int16 → what they change, in order.

        Raises VelocityError for another shape, for NaN and Inf, and after ``finish``.
        """
        if self._finished:
            raise VelocityError("this stream is finished: begin another one")
        samples = np.asarray(samples)
        samples = samples.astype(np.float32) / 32768 if samples.dtype == np.int16 else samples.astype(np.float32)
        if samples.ndim != 1 or not np.isfinite(samples).all():
            raise VelocityError(f"audio of shape {samples.shape}: expected (samples,), all of them numbers")
        self._samples += len(samples)
        events = []
        for start in range(0, len(samples), AT_ONCE):
            self._features.accept(samples[start : start + AT_ONCE])
            while (mel := self._features.take(self._model.chunk_frames)) is not None:
                events += self._hear(mel)
        return events

    def finish(self) -> list[Event]:
        """The sound is over: at most one event, the rest of what was said."""
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

    def _hear(self, mel: np.ndarray) -> list[Event]:
        """(chunk_frames, 80), the next ones of the stream."""
        self._take(Chunk(mel, len(mel) // self._model.stride, self._onset.find(mel)))
        events = []
        if self._utterance and self._over():
            if self._utterance.words():
                events.append(self._event("final"))
            # No further back than half of the pause: what was heard of the last word must not be heard again.
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
        """A new utterance where a sound begins in the ``newest`` chunks; none if it does not."""
        self._utterance, recent = None, list(self._recent)
        for index in range(len(recent) - newest, len(recent)):
            if recent[index].onset is not None:
                heard = recent[max(0, index - BEFORE) :]
                self._state, self._shown = self._model.initial_state(), ("", "")
                self._utterance = Utterance(self._model, self._steps - sum(chunk.steps for chunk in heard))
                for chunk in heard:
                    self._step(chunk)
                return

    def _step(self, chunk: Chunk) -> None:
        log_probs, self._state = self._model.step(chunk.mel, self._state)
        self._utterance.add(log_probs[: chunk.steps])

    def _over(self) -> bool:
        rule, utterance, frame = self._endpoint, self._utterance, self._model.frame_seconds
        length = (utterance.end - utterance.start) * frame
        quiet = max(utterance.quiet * frame, self._onset.quiet * HOP / SAMPLE_RATE)  # letters may be of noise
        if not utterance.words():
            pause = rule.silence
        else:
            pause = rule.pause if length < rule.longest else min(SETTLED, rule.pause)
        return quiet >= pause or length >= 2 * rule.longest

    def _event(self, type: Literal["partial", "final"]) -> Event:
        words = self._utterance.words()
        count = len(words) if type == "final" else self._utterance.settle()
        stable, partial = in_text(words[:count]), in_text(words[count:])
        end = min(words[-1].end, self.seconds)  # the last model frame may reach beyond the sound
        return Event(type, stable, partial, words[:count], words[0].start, end, self.seconds)


class Chunk(NamedTuple):
    mel: np.ndarray  # (frames, 80)
    steps: int  # model frames of it that are of the stream
    onset: int | None  # frame at which a sound began


class Utterance:
    """The best path of one utterance so far, grown chunk by chunk (``velocity.recognition.decoding.best_path``)."""

    def __init__(self, model: StreamingASR, start: int) -> None:
        self._model = model
        self.start = self.end = start  # model frames of the stream
        self._tokens: list[int] = []
        self._first: list[int] = []  # frame of each token
        self._last: list[int] = []
        self._peak: list[float] = []  # log-posterior
        self._previous = model.blank
        self._settled = 0  # words

    def add(self, log_probs: np.ndarray) -> None:
        """(frames, V)."""
        for token, value in zip(log_probs.argmax(1).tolist(), log_probs.max(1).tolist(), strict=True):
            if token != self._model.blank:
                if token != self._previous:
                    self._tokens.append(token)
                    self._first.append(self.end)
                    self._last.append(self.end)
                    self._peak.append(value)
                self._last[-1] = self.end
                self._peak[-1] = max(self._peak[-1], value)
            self._previous = token
            self.end += 1

    @property
    def quiet(self) -> int:
        """Frames since the last token."""
        return self.end - (self._last[-1] + 1 if self._tokens else self.start)

    def words(self) -> list[Word]:
        """As ``velocity.recognition.decoding`` times them, in seconds of the stream."""
        frame, found = self._model.frame_seconds, []
        for text, members in spelled(self._tokens, self._model.pieces):
            confidence = float(np.exp(np.mean([self._peak[index] for index in members])))
            start = max(self._first[members[0]] * frame - LATE, found[-1].end if found else 0.0)
            end = min((self._last[members[-1]] + 1) * frame + EARLY, self.end * frame)
            found.append(Word(text, start, end, confidence))
        return found

    def settle(self) -> int:
        """How many words are complete: a border follows them, or ``SETTLED`` seconds without a letter.

        Never fewer than before: the rare letter that comes later lengthens a word that was thought complete.
        """
        words = len(self.words())
        if words:
            border = self._model.pieces[self._tokens[-1]].isspace()
            complete = border or self.quiet * self._model.frame_seconds >= SETTLED
            self._settled = max(self._settled, words if complete else words - 1)
        return self._settled

    def stable_and_partial(self) -> tuple[str, str]:
        words, count = self.words(), self.settle()
        return in_text(words[:count]), in_text(words[count:])


def in_text(words: list[Word]) -> str:
    return " ".join(word.text for word in words)
