"""``README.md`` of an artefact for phones, for app developers: written from the configuration in the same folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from velocity.audio import HOP, SAMPLE_RATE, WINDOW
from velocity.files import write_json, write_text
from velocity.recognition.decoding.pieces import pieces
from velocity.text import TextTokenizer

HEAD = """# {name}: {target}

English speech recognition, made by VELOCITY-ASR. What follows is written from this folder's `config.json`, for this
model alone.

| | name | shape | type | what |
|---|---|---|---|---|
| input | `{input_name}` | {input_shape} | float32 | {input_what} |
| output {log_probs_index} | `log_probs` | (1, frames out, {vocabulary}) | float32 | log-posteriors, natural logarithm |
| output {lengths_index} | `lengths` | (1) | int32 | frames out |

- Frames out: {frames_out}; one every {milliseconds:g} ms.
- {vocabulary} classes; class {blank} is the blank of CTC. `vocabulary.json` says what each of them writes: an array of
  strings, with the space in front of those that begin a word.
{features}- One call takes one stretch of speech whole; cut longer speech in its pauses, after 20 s at most.

"""

MEL = """- Features: log-mel of {sample_rate} Hz samples in [-1, 1], {mel_bins} bins; frame t is centred on sample
  {hop}·t and sees {window} samples. `compute_mel_spectrogram` in `velocity/audio.py` is the definition, in NumPy,
  and `velocity/web/features.js` the same in JavaScript. They are not normalised: the model does that.
"""


def write_notes(folder: Path, config: Mapping[str, Any], code: str, outputs: Sequence[str]) -> None:
    """``README.md`` with the example ``code``, and ``vocabulary.json``. ``outputs``: in the order of the model file."""
    stride, bins, samples = config["model"]["stride"], config["mel_bins"], config["input"] == "waveform"
    words = {key: config[key] for key in ("name", "target", "vocabulary", "blank", "mel_bins")} | {
        "input_name": "waveform" if samples else "mel_spectrogram",
        "input_shape": "(1, samples)" if samples else f"(1, frames, {bins})",
        "input_what": f"{config['sample_rate']} Hz, mono, in [-1, 1]" if samples else "log-mel features, see below",
        "frames_out": f"samples ÷ {HOP * stride}, rounded up" if samples else f"frames ÷ {stride}, rounded up",
        "milliseconds": 1000 * config["frame_seconds"],
        "features": "" if samples else MEL.format(mel_bins=bins, sample_rate=SAMPLE_RATE, hop=HOP, window=WINDOW),
        "log_probs_index": outputs.index("log_probs"),
        "lengths_index": outputs.index("lengths"),
        "most_frames": config.get("most_frames"),
        "argument": "samples" if samples else "mel",
        "kotlin_shape": "1, samples.size" if samples else f"1, frames, {bins}",
        "kotlin_frames": f"(samples.size + {HOP - 1}) / {HOP}" if samples else f"mel.size / {bins}",
        "kotlin_frames_out": f"(frames + {stride - 1}) / {stride}",
    }
    write_text(folder / "README.md", (HEAD + code).format(**words))
    write_json(folder / "vocabulary.json", pieces(TextTokenizer(folder / "tokenizer.model")))
