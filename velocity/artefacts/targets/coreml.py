"""Core ML for iPhone, iPad and Mac, in 16 bits and with 8-bit weights."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from velocity.artefacts.target import HALF, Comparison, Target

if TYPE_CHECKING:
    from velocity.artefacts.target import Posteriors
    from velocity.artefacts.trained import Trained

PACKAGE = "model.mlpackage"

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


def write_coreml(trained: Trained, folder: Path, source: Path | None, int8: bool) -> dict[str, Any]:
    """``model.mlpackage``: traced, or the package in ``source``; for INT8 with the trained integers as weights."""
    from velocity.artefacts.coreml_package import Package
    from velocity.artefacts.coreml_program import ABOUT, FEATURES, MOST_FRAMES, export_coreml, quantize_package
    from velocity.artefacts.description import labels

    package = Package.read(source / PACKAGE) if source else export_coreml(trained.load())
    if int8:
        quantize_package(package, trained.load_int8())
    about = ABOUT | ({"license": trained.licence} if trained.licence else {})
    package.describe(about, FEATURES, labels(trained, "coreml-int8" if int8 else "coreml"))
    package.write(folder / PACKAGE)
    return {"most_frames": MOST_FRAMES}


def load(folder: Path, threads: int) -> Posteriors:
    """Core ML itself on a Mac; anywhere else the interpreter of its program."""
    from velocity.artefacts.coreml_interpreter import MilProgram
    from velocity.artefacts.coreml_package import import_coremltools

    if sys.platform != "darwin":
        return MilProgram(folder / PACKAGE)
    model = import_coremltools().models.MLModel(str(folder / PACKAGE))
    return lambda mel: model.predict({"mel_spectrogram": mel})["log_probs"]


def write_coreml_notes(folder: Path, config: dict[str, Any]) -> None:
    from velocity.artefacts.coreml_package import Package
    from velocity.artefacts.notes import write_notes

    outputs = Package.read(folder / PACKAGE).spec.description.output
    write_notes(folder, config, SWIFT, [each.name for each in outputs])


TARGETS = {
    "coreml": Target(
        order=70,
        about="iPhone, iPad and Mac, 16-bit",
        write=partial(write_coreml, int8=False),
        model=PACKAGE,
        comparison=Comparison(load, "coremltools", "float", HALF, words="float", whole=False),
        write_notes=write_coreml_notes,
    ),
    "coreml-int8": Target(
        order=80,
        about="the same with 8-bit weights",
        write=partial(write_coreml, int8=True),
        model=PACKAGE,
        made_from="coreml",
        comparison=Comparison(load, "coremltools", "int8-weights", HALF, words="int8", whole=False),
        write_notes=write_coreml_notes,
    ),
}
