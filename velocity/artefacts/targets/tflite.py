"""TFLite for Android and boards, in floating point and in 8 bits."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import FLOAT, INT8, Comparison, Target

if TYPE_CHECKING:
    from velocity.artefacts.target import Posteriors
    from velocity.artefacts.trained import Trained

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


def write_tflite(trained: Trained, folder: Path, source: Path | None, int8: bool) -> dict[str, Any]:
    """``model.tflite``: converted from an ONNX graph; for INT8, a TFLite file with the trained integers."""
    from velocity.artefacts.description import labels
    from velocity.artefacts.onnx_graph import graph_of_letters
    from velocity.artefacts.tflite_model import quantize_tflite, set_labels, tflite_from_onnx

    if source and int8:
        content = (source / "model.tflite").read_bytes()
    else:
        content = tflite_from_onnx(graph_of_letters(trained, source))
    if int8:
        content = quantize_tflite(content, trained.load_int8())
    content = set_labels(content, labels(trained, "tflite-int8" if int8 else "tflite"))
    (folder / "model.tflite").write_bytes(content)
    return {}


def load(folder: Path, threads: int) -> Posteriors:
    from velocity.artefacts.tflite_model import TFLiteModel

    return TFLiteModel(folder / "model.tflite", threads)


def write_tflite_notes(folder: Path, config: dict[str, Any]) -> None:
    """Outputs in a TFLite file have no names of ours, but each has a rank of its own."""
    from velocity.artefacts.notes import write_notes
    from velocity.artefacts.tflite_file import TFLiteFile

    graph = TFLiteFile((folder / "model.tflite").read_bytes()).graph
    ranks = [len(graph.tensors[index].shape) for index in graph.outputs]
    write_notes(folder, config, KOTLIN, ["log_probs" if rank == 3 else "lengths" for rank in ranks])


TARGETS = {
    "tflite": Target(
        order=90,
        about="Android and boards, floating point",
        write=partial(write_tflite, int8=False),
        model="model.tflite",
        made_from="onnx",
        waveform=True,
        comparison=Comparison(load, "ai_edge_litert", "float", FLOAT, words="float"),
        timed=True,
        write_notes=write_tflite_notes,
    ),
    "tflite-int8": Target(
        order=100,
        about="the same with 8-bit weights and activations",
        write=partial(write_tflite, int8=True),
        model="model.tflite",
        made_from="tflite",
        waveform=True,
        comparison=Comparison(load, "ai_edge_litert", "int8", INT8, words="int8"),
        timed=True,
        write_notes=write_tflite_notes,
    ),
}
