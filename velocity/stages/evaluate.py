"""Stage ``evaluate``: parity of each artefact with PyTorch, error rates with intervals, error reports."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from velocity.config import load_params
from velocity.evaluation.errors import error_report, write_error_report
from velocity.evaluation.parity import Reference, compare, decoding_parity, parity_speech, torch_reference, verdict
from velocity.evaluation.recognition import recognise
from velocity.evaluation.testset import load_test_set
from velocity.evaluation.wer import NORMALIZER, measure_test_set, score
from velocity.files import write_json
from velocity.runtime import VelocityASR
from velocity.stages import run
from velocity.tracking import track_run

PREPARED = Path("data/prepared")
FINETUNED = Path("models/finetuned.safetensors")
CALIBRATION = Path("models/calibration.json")
EXPORTED = Path("models/export")
OUTPUT = Path("reports/metrics.json")
ERRORS = Path("reports/errors")


def main() -> None:
    import torch

    from velocity.model.asr import load_model
    from velocity.quantization.calibration import load_quantized

    params = load_params()
    torch.set_num_threads(params.threads)
    test_sets = dict(load_test_set(str(path)) for path in sorted(PREPARED.glob("test-*.jsonl")))
    references = {"onnx": load_model(FINETUNED), "onnx-int8": load_quantized(FINETUNED, CALIBRATION)}
    everything = [utterance for utterances in test_sets.values() for utterance in utterances]
    spoken = [utterance.text for utterance in everything]
    speech = parity_speech(everything)

    scores, parity, rates = {name: {} for name in test_sets}, {}, {}
    with track_run("evaluate", asdict(params.evaluate)) as tracked:
        for artefact, reference in references.items():
            model = VelocityASR(EXPORTED / artefact)
            heard: list[str] = []
            for name, utterances in test_sets.items():
                recognition = recognise(model, utterances, f"{name}, {artefact}", params.threads, confidences=True)
                scores[name][artefact] = measure_test_set(
                    utterances, recognition.hypotheses, params.evaluate.bootstrap, params.seed
                )
                report = error_report(utterances, recognition)
                write_error_report(report, f"{name}, {artefact}", ERRORS / f"{name}-{artefact}", params.evaluate.worst)
                heard += recognition.hypotheses
            rates[artefact] = score(spoken, heard).wer
            figures = compare(torch_reference(reference), model, speech)
            figures |= decoding_parity(Reference(model, reference), everything, heard, f"PyTorch's {artefact}")
            figures["wer_difference_from_float"] = round(rates[artefact] - rates["onnx"], 6)
            parity[artefact] = figures | verdict(figures)
            for shortfall in parity[artefact]["failed"]:
                print(f"PARITY FAILED: {artefact}: {shortfall}", file=sys.stderr, flush=True)
        metrics = {
            "normalizer": NORMALIZER,
            "params": references["onnx"].parameter_count(),
            "parity": parity,
            "test_sets": scores,
        }
        write_json(OUTPUT, metrics)
        tracked.metrics(metrics)
        tracked.artifact(OUTPUT)
        tracked.model(*(EXPORTED / artefact for artefact in references))


if __name__ == "__main__":
    run(main)
