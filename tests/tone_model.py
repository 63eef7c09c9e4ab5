"""A recogniser of tones: every letter is a pure tone, the "speech" to recognise is made of such tones.

It is a real artefact (``model.onnx``, ``config.json``, ``tokenizer.model``) whose right answers are known, in 10 kB and
without training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from velocity.audio import MEL_BINS, MEL_HIGH, MEL_LOW, SAMPLE_RATE
from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.recognition.language_model.file import write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.language_model.tables import SPECIAL
from velocity.text import ALPHABET, TextTokenizer, train_tokenizer

VOCABULARY = len(ALPHABET) + 3  # <blank>, <unk>, the space
SILENT = -3.0  # log-mel that a tone must exceed
VOICE = 125.0  # Hz: below all classes, a whole number of periods a letter, and what makes the sounds a voice
FIRST_BIN, BIN_STEP = 20, 2  # the mel bin of class 2, and how far the classes are apart


def write_model(folder: Path, target: str = "onnx", gain: float = 1.0) -> Path:
    """Write the artefact; another ``gain`` gives another model with the same answers."""
    folder.mkdir(parents=True)
    train_tokenizer([], "characters", VOCABULARY, folder / "tokenizer.model")
    config = {
        "format": 1,
        "target": target,
        "name": "tones",
        "sample_rate": SAMPLE_RATE,
        "mel_bins": MEL_BINS,
        "frame_seconds": 0.02,
        "vocabulary": VOCABULARY,
        "blank": 0,
        "synthetic": True,
        "model": {},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.onnx").write_bytes(_graph(gain))
    return folder


def deafen(folder: Path, letter: str) -> Path:
    """Have the model in ``folder`` hear ``letter`` no more."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(folder / "model.onnx")
    tokenizer = TextTokenizer(folder / "tokenizer.model")
    bias = next(value for value in proto.graph.initializer if value.name == "bias")
    values = numpy_helper.to_array(bias).copy()
    values[next(index for index in range(len(values)) if letter in tokenizer.decode([index]))] = -100.0
    bias.CopyFrom(numpy_helper.from_array(values, "bias"))
    onnx.save(proto, folder / "model.onnx")
    return folder


def add_phones(folder: Path) -> Path:
    """Have the model in ``folder`` give phones too: its letters, as ``sounded`` has them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tokenizer = TextTokenizer(folder / "tokenizer.model")
    sources = np.full(CLASSES, 1)  # of most phones the unknown, which is never heard
    sources[BLANK] = tokenizer.blank
    (sources[BOUNDARY],) = set(tokenizer.encode("a b")) - set(tokenizer.encode("a")) - set(tokenizer.encode("b"))
    for letter in ALPHABET:
        (sources[sounded(letter)[0]],) = tokenizer.encode(letter)
    proto = onnx.load(folder / "model.onnx")
    proto.graph.initializer.append(numpy_helper.from_array(sources, "sources"))
    proto.graph.node.append(helper.make_node("Gather", ["logits", "sources"], ["phone_logits"], axis=-1))
    proto.graph.node.append(helper.make_node("LogSoftmax", ["phone_logits"], ["phone_log_probs"], axis=-1))
    shape = ["batch", "frames_out", CLASSES]
    proto.graph.output.append(helper.make_tensor_value_info("phone_log_probs", TensorProto.FLOAT, shape))
    onnx.save(proto, folder / "model.onnx")
    return folder


def add_words(
    folder: Path, sentences: Sequence[str], said: Mapping[str, str] = {}, order: int = 2, weight: float = 0.1
) -> Path:
    """Have the model in ``folder`` make words of its phones, by a language model of ``sentences`` beside it. ``said``:
    word → the letters that it is spoken as, if they are not its own."""
    tables = estimate(sentences, order).tables()
    sounds = [b"" if word in SPECIAL else sounded(said.get(word, word)) for word in tables.words]
    write_file(replace(tables, pronunciations=sounds), folder / "words.lm")
    config = json.loads((folder / "config.json").read_text())
    config["language_model"] = {"file": "words.lm", "weight": weight, "word_bonus": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def sounded(word: str) -> bytes:
    """The pronunciation of ``word`` if every letter is a phone."""
    return bytes(BOUNDARY + 1 + ALPHABET.index(letter) for letter in word)


def weights(gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """(80, V) and (V,): the logit of a class is the level of its mel bin, that of the blank is constant."""
    weight = np.zeros((MEL_BINS, VOCABULARY), dtype=np.float32)
    bias = np.full(VOCABULARY, -100.0, dtype=np.float32)
    bias[0] = SILENT * gain
    for token in range(2, VOCABULARY):
        weight[_bin(token), token], bias[token] = gain, 0.0
    return weight, bias


def _graph(gain: float) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weight, bias = weights(gain)
    constants = {"weight": weight, "bias": bias}
    constants |= {name: np.array([value]) for name, value in (("begin", 0), ("end", 2**31), ("axis", 1), ("step", 2))}
    nodes = [
        helper.make_node("Slice", ["mel_spectrogram", "begin", "end", "axis", "step"], ["frames"]),  # (B, T', 80)
        helper.make_node("MatMul", ["frames", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=-1),
        helper.make_node("Shape", ["logits"], ["batch"], start=0, end=1),
        helper.make_node("Shape", ["logits"], ["time"], start=1, end=2),
        helper.make_node("Expand", ["time", "batch"], ["lengths"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tones",
        [helper.make_tensor_value_info("mel_spectrogram", TensorProto.FLOAT, ["batch", "frames", MEL_BINS])],
        [
            helper.make_tensor_value_info("log_probs", TensorProto.FLOAT, ["batch", "frames_out", VOCABULARY]),
            helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def _bin(token: int) -> int:
    return FIRST_BIN + BIN_STEP * (token - 2)


def speak(text: str, folder: Path, pause: float = 0.0) -> np.ndarray:
    """``text`` in the tones of the model in ``folder``, ``pause`` seconds between words: (samples,) at 16 kHz."""
    to_mel = lambda hertz: 2595.0 * np.log10(1.0 + hertz / 700.0)  # noqa: E731
    centres = 700.0 * (10.0 ** (np.linspace(to_mel(MEL_LOW), to_mel(MEL_HIGH), MEL_BINS + 2) / 2595.0) - 1.0)[1:-1]
    time = np.arange(round(0.1 * SAMPLE_RATE)) / SAMPLE_RATE
    silence = np.zeros(round(0.06 * SAMPLE_RATE))
    voice = 0.4 * np.sin(2 * np.pi * VOICE * np.arange(len(time) + len(silence)) / SAMPLE_RATE)
    pieces = [silence]
    tokenizer = TextTokenizer(folder / "tokenizer.model")
    for token in tokenizer.encode(text):
        tone = 0.5 * np.sin(2 * np.pi * centres[_bin(token)] * time) * np.hanning(len(time))
        pieces += [np.concatenate([tone, silence]) + voice] + [np.zeros(round(pause * SAMPLE_RATE))] * (
            tokenizer.decode([token]) == ""
        )
    return np.concatenate(pieces).astype(np.float32)


def write_speech(path: Path, text: str, folder: Path) -> Path:
    """The tones of ``text`` as an audio file of any format soundfile writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speak(text, folder), SAMPLE_RATE)
    return path
