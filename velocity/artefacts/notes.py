"""``README.md`` of an artefact for phones: how it is called, from the same configuration that goes with it."""

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

SWIFT = """## Swift

iOS 16, macOS 13 or later. Add `model.mlpackage` and `vocabulary.json` to the target; Xcode compiles the model. `mel`
holds `frames` × {mel_bins} numbers, frame by frame; {most_frames} frames at most.

```swift
import CoreML

let model = try MLModel(contentsOf: Bundle.main.url(forResource: "model", withExtension: "mlmodelc")!)
let vocabulary = try Data(contentsOf: Bundle.main.url(forResource: "vocabulary", withExtension: "json")!)
let pieces = try JSONDecoder().decode([String].self, from: vocabulary)

func recognise(mel: [Float], frames: Int) throws -> String {{
    let input = try MLMultiArray(shape: [1, NSNumber(value: frames), {mel_bins}], dataType: .float32)
    mel.withUnsafeBufferPointer {{
        input.dataPointer.assumingMemoryBound(to: Float.self).update(from: $0.baseAddress!, count: frames * {mel_bins})
    }}
    let features = try MLDictionaryFeatureProvider(dictionary: ["{input_name}": MLFeatureValue(multiArray: input)])
    let output = try model.prediction(from: features)
    let logProbs = output.featureValue(for: "log_probs")!.multiArrayValue!  // (1, frames out, {vocabulary})
    let count = output.featureValue(for: "lengths")!.multiArrayValue![0].intValue
    let scores = logProbs.dataPointer.assumingMemoryBound(to: Float.self)
    let row = logProbs.strides[1].intValue, step = logProbs.strides[2].intValue

    var text = "", last = {blank}
    for frame in 0..<count {{
        let best = (0..<{vocabulary}).max {{ scores[frame * row + $0 * step] < scores[frame * row + $1 * step] }}!
        if best != last && best != {blank} {{ text += pieces[best] }}
        last = best
    }}
    return text.trimmingCharacters(in: .whitespaces)
}}
```
"""

KOTLIN = """## Kotlin

`implementation("com.google.ai.edge.litert:litert:1.0.1")`; its classes are called `org.tensorflow.lite` still. Built-in
operators alone: it needs neither Flex nor a delegate.

```kotlin
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.json.JSONArray
import org.tensorflow.lite.Interpreter

val interpreter = Interpreter(File(folder, "model.tflite"), Interpreter.Options().setNumThreads(2))
val vocabulary = JSONArray(File(folder, "vocabulary.json").readText())

fun recognise({argument}: FloatArray): String {{
    val frames = {kotlin_frames}
    val framesOut = {kotlin_frames_out}
    interpreter.resizeInput(0, intArrayOf({kotlin_shape}))
    interpreter.allocateTensors()
    val input = ByteBuffer.allocateDirect(4 * {argument}.size).order(ByteOrder.nativeOrder())
    input.asFloatBuffer().put({argument})
    val logProbs = Array(1) {{ Array(framesOut) {{ FloatArray({vocabulary}) }} }}
    val lengths = IntArray(1)
    interpreter.runForMultipleInputsOutputs(
        arrayOf<Any>(input), mapOf<Int, Any>({log_probs_index} to logProbs, {lengths_index} to lengths))

    val text = StringBuilder()
    var last = {blank}
    for (frame in logProbs[0].take(lengths[0])) {{
        val best = frame.indices.maxByOrNull {{ frame[it] }}!!
        if (best != last && best != {blank}) text.append(vocabulary.getString(best))
        last = best
    }}
    return text.trim().toString()
}}
```
"""


def write_notes(folder: Path, config: Mapping[str, Any]) -> None:
    """``README.md`` and ``vocabulary.json`` in the folder of an artefact for phones, which is there already."""
    write_text(folder / "README.md", mobile_notes(config, outputs(folder)))
    write_json(folder / "vocabulary.json", pieces(TextTokenizer(folder / "tokenizer.model")))


def outputs(folder: Path) -> list[str]:
    """The outputs in the order of the model's file. TFLite's have no names of ours, and one rank each."""
    from velocity.artefacts.coreml import PACKAGE
    from velocity.artefacts.mlpackage import Package
    from velocity.artefacts.tflite_file import TFLiteFile

    if not (folder / "model.tflite").is_file():
        return [each.name for each in Package.read(folder / PACKAGE).spec.description.output]
    graph = TFLiteFile((folder / "model.tflite").read_bytes()).graph
    ranks = [len(graph.tensors[index].shape) for index in graph.outputs]
    return ["log_probs" if rank == 3 else "lengths" for rank in ranks]


def mobile_notes(config: Mapping[str, Any], outputs: Sequence[str]) -> str:
    """``README.md`` of the artefact that ``config.json`` describes, with ``outputs`` in the order of its file."""
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
    }
    if config["target"].startswith("coreml"):
        return (HEAD + SWIFT).format(**words)
    words |= {
        "argument": "samples" if samples else "mel",
        "kotlin_shape": "1, samples.size" if samples else f"1, frames, {bins}",
        "kotlin_frames": f"(samples.size + {HOP - 1}) / {HOP}" if samples else f"mel.size / {bins}",
        "kotlin_frames_out": f"(frames + {stride - 1}) / {stride}",
    }
    return (HEAD + KOTLIN).format(**words)
