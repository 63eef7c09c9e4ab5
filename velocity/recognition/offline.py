"""Recognition of recordings with an exported model: onnxruntime and NumPy, no PyTorch."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram, read_blocks, resample
from velocity.errors import VelocityError, VelocityWarning
from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.reading.arrays import is_array, mono
from velocity.reading.blocks import BLOCK
from velocity.reading.downmix import CANCEL, Downmix
from velocity.reading.recording import Source, check_rate
from velocity.recognition.decoding.decoder import Decoder, Hypothesis
from velocity.recognition.decoding.pieces import pieces
from velocity.recognition.decoding.words import Word
from velocity.recognition.gain_control import control_gain
from velocity.recognition.language_model.choice import SHIPPED, language_model, own_hotwords
from velocity.recognition.segmentation import (
    SURE,
    chunks,
    periodicity,
    plausible,
    silence,
    silenced,
    split_posteriors,
    stretches,
    voice_activity,
)
from velocity.text import TextTokenizer

FILES = ("model.onnx", "config.json", "tokenizer.model")
PHONES = "phone_log_probs"  # an output that not every model has
# A file, its bytes or an open one; samples at 16 kHz (``velocity.reading.arrays.mono`` has the types and shapes), at
# another rate as (samples, rate), or in blocks.
Audio = Source | np.ndarray | tuple[np.ndarray, int] | Iterable[np.ndarray]


@dataclass(frozen=True)
class Passage:
    """A stretch of audio that is decoded at once, ``start`` to ``end`` in seconds; the best hypothesis comes first."""

    start: float
    end: float
    hypotheses: list[Hypothesis]

    @property
    def text(self) -> str:
        return self.hypotheses[0].text

    @property
    def words(self) -> list[Word]:
        return self.hypotheses[0].words


class Head(NamedTuple):
    """An output of the graph. ``begins`` (classes,) bool: begins a word. ``space``: what separates words, if a class of
    its own does."""

    output: str
    blank: int
    begins: np.ndarray
    space: int | None


class VelocityASR:
    """An exported recogniser.

    >>> model = VelocityASR.from_pretrained("models/export", quantized=True)
    >>> model.transcribe("speech.wav")
    """

    def __init__(self, folder: str | Path, threads: int = 1, lm: str | Path | None = None) -> None:
        """Load the artefact in ``folder`` (``model.onnx``, ``config.json``, ``tokenizer.model``).

        ``lm``: the file of a language model, "none" for the best path, or None for what config.json says: the shipped
        models have a language model, others the best path.
        Raises VelocityError when a file is missing, broken or does not fit the others.
        """
        self.folder = Path(folder)
        for name in FILES:
            if not (self.folder / name).is_file():
                raise VelocityError(f"{self.folder}: no {name}: not an exported model")
        self.config = _read_config(self.folder / "config.json")
        self.tokenizer = TextTokenizer(self.folder / "tokenizer.model")
        if self.tokenizer.vocabulary != self.config["vocabulary"]:
            raise VelocityError(
                f"{self.folder}: tokenizer.model has {self.tokenizer.vocabulary} pieces, "
                f"but config.json has {self.config['vocabulary']}: the files belong to different models"
            )
        self.language_model = language_model(self.folder, self.config, lm)
        self.hotwords = own_hotwords(self.folder, self.config, lm)
        texts = pieces(self.tokenizer)
        begins = np.array([text.startswith(" ") for text in texts])
        self._letters = Head("log_probs", self.config["blank"], begins, texts.index(" ") if " " in texts else None)
        self._phones = None
        self._session = _open_session(self.folder / "model.onnx", threads)
        self._takes_samples = self._session.get_inputs()[0].name == "waveform"  # the graph computes the features
        if PHONES in {tensor.name for tensor in self._session.get_outputs()}:
            self._phones = Head(PHONES, BLANK, np.arange(CLASSES) == BOUNDARY, BOUNDARY)
        self.decoder = self.new_decoder()  # may be replaced

    @classmethod
    def from_pretrained(
        cls, model: str | Path, quantized: bool = False, threads: int = 1, lm: str | Path | None = None
    ) -> VelocityASR:
        """Load ``model``: an exported folder, a folder with several (``onnx/``, ``onnx-int8/``), the name of a model
        shipped with the package, or ``models:/name@alias`` from the MLflow registry.

        ``quantized`` chooses ``onnx-int8/`` if there are several. ``threads`` applies to one recognition; ``lm`` is a
        language model, as above.
        Raises VelocityError when there is no such model or it cannot be loaded.
        """
        return cls(find_model(model, quantized), threads, lm)

    def new_decoder(
        self,
        hotwords: Mapping[str, float] | None = None,
        beam: int | None = None,
        n_best: int = 1,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
    ) -> Decoder:
        """A decoder with this model's language model and hot words; the arguments are those of ``Decoder``."""
        lm = self.language_model
        weight = {} if lm is None else {"lm": lm.ngram, "lm_weight": lm.weight, "word_bonus": lm.word_bonus}
        given = {"lm_weight": lm_weight, "word_bonus": word_bonus}
        weight |= {name: value for name, value in given.items() if value is not None}
        phrases = {**self.hotwords, **(hotwords or {})}
        decoder = Decoder(
            self.tokenizer, self.config["frame_seconds"], hotwords=phrases, beam=beam, n_best=n_best, **weight
        )
        if self.gives_phones and lm and lm.ngram.pronounces and not decoder.reads_phones:
            warnings.warn(
                "text comes from letters, which is less accurate: a hot word cannot be pronounced; "
                "is espeak-ng installed (pip install 'velocity-asr[train]')?",
                VelocityWarning,
                stacklevel=2,
            )
        return decoder

    def __call__(self, mel: Any, phones: bool = False) -> np.ndarray:
        """(frames, 80) or (batch, frames, 80) log-mel of ``compute_mel_spectrogram``, NumPy or torch
        → (batch, frames', V) float32 log-posteriors, with ``phones`` those of the phones, if ``gives_phones``. All rows
        of a batch have the same length: no padding."""
        if self._takes_samples:
            raise VelocityError(f"{self.folder}: takes samples and not features: pass them to transcribe or log_probs")
        if hasattr(mel, "detach"):
            mel = mel.detach().cpu()
        mel = np.asarray(mel, dtype=np.float32)
        mel = mel[None] if mel.ndim == 2 else mel
        bins = self.config["mel_bins"]
        if mel.ndim != 3 or mel.shape[2] != bins or 0 in mel.shape:
            raise VelocityError(f"features of shape {mel.shape}: expected (frames, {bins}) or (batch, frames, {bins})")
        (log_probs,) = self._session.run([PHONES if phones else "log_probs"], {"mel_spectrogram": mel})
        return log_probs

    @property
    def gives_phones(self) -> bool:
        """Whether the model has an output for phones."""
        return self._phones is not None

    @property
    def reads_phones(self) -> bool:
        """Whether text comes from phones: the model gives them, and ``decoder`` makes words of them."""
        return self.gives_phones and self.decoder.reads_phones

    def _infer(self, samples: np.ndarray, head: Head) -> np.ndarray:
        """(samples,) float32 at 16 kHz → (frames', classes) log-posteriors."""
        if self._takes_samples:
            return self._session.run([head.output], {"waveform": samples[None]})[0][0]
        return self(compute_mel_spectrogram(samples), phones=head is self._phones)[0]

    def decode_ctc(self, log_probs: Any) -> str:
        """The text of (frames', V) log-posteriors, or of the first row of (batch, frames', V), by ``decoder``."""
        log_probs = np.asarray(log_probs)
        row = log_probs[0] if log_probs.ndim == 3 else log_probs
        return self.decoder.decode(row, words=False)[0].text

    def transcribe(self, audio: Audio) -> str:
        """The text of audio of any length: a file (a path, an open binary file, or its bytes), an array of samples at
        16 kHz, an array and its rate, or an iterable of arrays at 16 kHz.

        Arrays, of NumPy or torch, are (samples,), (samples, channels) or (channels, samples); floats in [-1, 1], or
        integers of 8, 16 or 32 bits. Raises VelocityError for anything else, and when the file cannot be read.
        """
        return " ".join(passage.text for passage in self.passages(audio, words=False) if passage.text)

    def passages(self, audio: Audio, words: bool = True) -> Iterator[Passage]:
        """Yield passages as they are recognised, in constant memory.

        Audio of up to twenty seconds is one passage; longer audio is cut in pauses between words. ``words=False``
        skips the alignment. Raises VelocityError when the audio cannot be read, even after some passages.
        """
        frame, samples = self.config["frame_seconds"], 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal samples
            for block in _blocks(audio):
                samples += len(block)
                yield block

        head, decode = self._letters, self.decoder.decode
        if self.reads_phones:
            head, decode = self._phones, self.decoder.decode_phones
        for first, log_probs in split_posteriors(self._posteriors_of(counted(), head), head.begins, head.blank):
            start = first * frame
            end = min(start + len(log_probs) * frame, samples / SAMPLE_RATE)  # the last frame may reach beyond
            hypotheses = [_shifted(each, start, end) for each in decode(log_probs, words)]
            yield Passage(start, end, hypotheses)

    def log_probs(self, audio: Audio) -> np.ndarray:
        """(frames', V) log-posteriors of the whole audio, concatenated from chunks if it is long."""
        return np.concatenate(list(self.posteriors(audio)))

    def phone_log_probs(self, audio: Audio) -> np.ndarray:
        """(frames', velocity.phones.CLASSES) log-posteriors of the phones, likewise; for ``decoder.decode_phones``.

        Raises VelocityError when the model has no head for phones.
        """
        if not self.gives_phones:
            raise VelocityError(f"{self.folder}: has no phone output")
        return np.concatenate(list(self._posteriors_of(audio, self._phones)))

    def posteriors(self, audio: Audio) -> Iterator[np.ndarray]:
        """Yield ``log_probs`` in pieces of about twenty seconds at most, (frames', V) each. Frames without a voice are
        certainly blank."""
        yield from self._posteriors_of(audio, self._letters)

    def _posteriors_of(self, audio: Audio, head: Head) -> Iterator[np.ndarray]:
        """``posteriors`` of an output of the graph: (frames', classes) each."""
        seconds = self.config["frame_seconds"]
        frame, spoken, checked = round(seconds * SAMPLE_RATE), False, head is self._phones
        for samples, start, end, alone in chunks(_blocks(audio), frame):
            periodic = periodicity(samples)
            active, samples = voice_activity(periodic, alone, checked), control_gain(samples, periodic)
            piece = silence(-(-len(samples) // frame), len(head.begins), head.blank)
            # Quiet before, between and after speech never reaches the network, so that it cannot change the words.
            joints = []
            for first, last in stretches(active, seconds):
                if last * frame <= start or first * frame >= end:
                    continue  # within the context, which belongs to another chunk
                found = self._infer(samples[first * frame : last * frame], head)[: len(piece) - first]
                if checked and not plausible(found, head.blank):
                    continue  # the language model would make words of it
                piece[first : first + len(found)] = found
                if spoken and first * frame >= start:  # else nothing came before, or it goes on from there
                    joints.append(max(first - 1, start // frame))
                spoken = True
            piece = silenced(piece, active, seconds, head.blank)
            if head.space is not None:  # a stretch by itself does not begin with the space between words
                piece[joints] = SURE
                piece[joints, head.space] = 0.0
            yield piece[start // frame : -(-end // frame)]


def _blocks(audio: Audio) -> Iterator[np.ndarray]:
    """(samples,) float32 at 16 kHz each."""
    if isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(audio, "read"):
        yield from read_blocks(audio)
        return
    downmix = Downmix(SAMPLE_RATE)
    if isinstance(audio, tuple) and len(audio) == 2 and is_array(audio[0]) and isinstance(audio[1], (int, np.integer)):
        samples, rate = audio
        check_rate(rate, "audio")
        audio = resample(mono(samples, downmix), rate)
    if is_array(audio):
        samples = mono(audio, downmix)
        if not len(samples):
            raise VelocityError(f"audio of shape {samples.shape}: expected (samples,), at least one")
        yield from np.split(samples, range(BLOCK, len(samples), BLOCK))
    elif isinstance(audio, Iterable) and not isinstance(audio, (list, tuple, Mapping, Set)):
        yield from (mono(block, downmix) for block in audio)
    else:
        expected = "a file, an array, an array and its rate, or an iterator of blocks"
        raise VelocityError(f"audio of type {type(audio).__name__}: expected {expected}")
    if downmix.cancelled:
        warnings.warn(f"audio: {CANCEL}", VelocityWarning, stacklevel=2)


def _shifted(hypothesis: Hypothesis, seconds: float, latest: float) -> Hypothesis:
    """Its words ``seconds`` later, but none after ``latest``."""
    at = lambda time: min(time + seconds, latest)  # noqa: E731
    return replace(
        hypothesis, words=[replace(word, start=at(word.start), end=at(word.end)) for word in hypothesis.words]
    )


def find_model(model: str | Path, quantized: bool) -> Path:
    """The folder of the exported model ``model``, which is as for ``VelocityASR.from_pretrained``."""
    if str(model).startswith("models:/"):
        folder = _download(str(model))
    elif Path(model).is_dir():
        folder = Path(model)
    elif (SHIPPED / str(model)).is_dir():
        folder = SHIPPED / str(model)
    else:
        shipped = ", ".join(sorted(path.name for path in SHIPPED.glob("*/"))) or "none"
        raise VelocityError(f"{model}: no such model folder, and no such model shipped with the package ({shipped})")
    if (folder / "model.onnx").exists():
        return folder
    chosen = folder / ("onnx-int8" if quantized else "onnx")
    if not chosen.is_dir():
        found = ", ".join(sorted(path.parent.name for path in folder.glob("*/model.onnx"))) or "none"
        raise VelocityError(f"{folder}: neither model.onnx nor {chosen.name}/ in it (exported models there: {found})")
    return chosen


def _download(uri: str) -> Path:
    try:
        import mlflow

        from velocity.project import store_exists, tracking_uri
    except ImportError as error:
        raise VelocityError(f"{uri}: the model registry needs MLflow: pip install 'velocity-asr[pipeline]'") from error
    store = tracking_uri()
    if not store_exists(store):
        raise VelocityError(f"{uri}: no model registry yet at {store}; `velocity-asr register` makes one")
    mlflow.set_tracking_uri(store)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise VelocityError(f"{uri}: not in the model registry ({str(error).splitlines()[0]})") from error
    return folder / "artifacts"  # the MLflow model's data; the code beside it is for `mlflow models serve`


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        version = config["format"]
        missing = {"vocabulary", "blank", "mel_bins", "frame_seconds", "sample_rate"} - config.keys()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise VelocityError(f"{path}: not the configuration of an exported model; export it again") from error
    if version != 1:
        raise VelocityError(f"{path}: format {version} is unknown to this version; update velocity-asr")
    if missing:
        raise VelocityError(f"{path}: lacks {', '.join(sorted(missing))}; export the model again")
    if config["sample_rate"] != SAMPLE_RATE:
        raise VelocityError(f"{path}: sample_rate is {config['sample_rate']}, but features need {SAMPLE_RATE}")
    return config


def _open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.enable_mem_pattern = False  # onnxruntime would keep a plan for every length it has seen
    # Threads that spin between operators take the processor from whoever has work, this model's other threads included.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base class but Exception
        raise VelocityError(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0]})") from error
    inputs = {tensor.name for tensor in session.get_inputs()}
    outputs = {tensor.name for tensor in session.get_outputs()}
    if {"mel_spectrogram", "position"} <= inputs:
        raise VelocityError(f"{path.parent}: a model for live audio; use it with `velocity-asr stream`")
    if not inputs & {"mel_spectrogram", "waveform"} or not {"log_probs", "lengths"} <= outputs:
        raise VelocityError(f"{path}: not a VELOCITY-ASR model: inputs {sorted(inputs)}, outputs {sorted(outputs)}")
    return session
