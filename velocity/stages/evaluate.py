"""Stage ``evaluate``: parity of each artefact with PyTorch, error rates with intervals, error reports."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from velocity.config import Params, load_params
from velocity.evaluation.artefacts import ARTEFACTS, Recogniser
from velocity.evaluation.error_report import error_report, write_error_report
from velocity.evaluation.hypotheses import recognise
from velocity.evaluation.parity import (
    compare,
    decoded,
    decoding_parity,
    load_reference,
    parity_speech,
    same_file,
    torch_reference,
    verdict,
)
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.evaluation.wer import NORMALIZER, measure_test_set, score
from velocity.files import write_json
from velocity.recognition.offline import VelocityASR
from velocity.stages import run
from velocity.tracking import track_run

PREPARED = Path("data/prepared")
FINETUNED = Path("models/finetuned.safetensors")
CALIBRATION = Path("models/calibration.json")
EXPORTED = Path("models/export")
OUTPUT = Path("reports/metrics.json")
ERRORS = Path("reports/errors")
FLOAT, SHIPPED, WEB = "onnx", "onnx-int8", "web"


def main() -> None:
    import torch

    params = load_params()
    torch.set_num_threads(params.threads)
    test_sets = dict(load_test_set(str(path)) for path in sorted(PREPARED.glob("test-*.jsonl")))
    everything = [utterance for utterances in test_sets.values() for utterance in utterances]
    chosen = decoded(len(everything))  # what PyTorch decodes as well
    some = [everything[index] for index in chosen]
    speech = parity_speech(everything)
    runtime = VelocityASR(EXPORTED / FLOAT)
    reference = cache(lambda form: torch_reference(load_reference(form, FINETUNED, CALIBRATION)))
    pytorch = cache(lambda form: recognise(Recogniser(runtime, reference(form)), some, f"PyTorch, {form}").hypotheses)

    scores, parity, rates = {name: {} for name in test_sets}, {}, {}
    with track_run("evaluate", asdict(params.evaluate)) as tracked:
        for name in exported():
            artefact = ARTEFACTS[name]
            model = artefact.load(EXPORTED / name)
            recogniser = model if isinstance(model, VelocityASR) else Recogniser(runtime, model)
            figures = compare(reference(artefact.reference), recogniser, speech)
            if artefact.whole:
                heard = []
                for test_set, utterances in test_sets.items():
                    hypotheses = hear(recogniser, utterances, f"{test_set}, {name}", params)
                    scores[test_set][name] = measure_test_set(
                        utterances, hypotheses, params.evaluate.bootstrap, params.seed
                    )
                    heard += hypotheses
                rates[name] = score(_texts(everything), heard).wer
                if artefact.near_float:
                    figures["wer_difference_from_float"] = round(rates[name] - rates[FLOAT], 6)
                heard = [heard[index] for index in chosen]
            else:
                heard = recognise(recogniser, some, name).hypotheses
            figures |= decoding_parity(_texts(some), pytorch(artefact.words), heard)
            parity[name] = figures | verdict(figures, artefact.bars)
        if (EXPORTED / WEB).is_dir() and SHIPPED in parity:
            parity[WEB] = same_file("model.onnx", EXPORTED / WEB, EXPORTED / SHIPPED, parity[SHIPPED])
        for name, figures in parity.items():
            for shortfall in figures["failed"]:
                print(f"PARITY FAILED: {name}: {shortfall}", file=sys.stderr, flush=True)
        metrics = {
            "normalizer": NORMALIZER,
            "params": load_reference("float", FINETUNED, CALIBRATION).parameter_count(),
            "parity": parity,
            "test_sets": scores,
        }
        write_json(OUTPUT, metrics)
        tracked.metrics(metrics)
        tracked.artifact(OUTPUT)
        tracked.model(*(EXPORTED / name for name in (FLOAT, SHIPPED) if name in parity))


def exported() -> Iterator[str]:
    """The artefacts that are there and can be run here; of others a note is left."""
    there = {path.parent.name for path in EXPORTED.glob("*/config.json")}
    for name, artefact in ARTEFACTS.items():
        if name in there and artefact.installed():
            yield name
        elif name in there:
            print(f"evaluate: {name} is left out: {artefact.library} is not installed", file=sys.stderr, flush=True)
    for name in sorted(there - ARTEFACTS.keys() - {WEB}):
        print(f"evaluate: {name} is left out: parity of such artefacts is not measured", file=sys.stderr, flush=True)


def hear(model: VelocityASR, utterances: Sequence[Utterance], title: str, params: Params) -> list[str]:
    """What the artefact hears in a test set; of those that the runtime runs, with a report of the errors."""
    native = not isinstance(model, Recogniser)
    found = recognise(model, utterances, title, params.threads if native else 1, confidences=native)
    if native:
        folder = ERRORS / title.replace(", ", "-")
        write_error_report(error_report(utterances, found), title, folder, params.evaluate.worst)
    return found.hypotheses


def _texts(utterances: Sequence[Utterance]) -> list[str]:
    return [utterance.text for utterance in utterances]


if __name__ == "__main__":
    run(main)
