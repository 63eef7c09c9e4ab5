"""Stage ``evaluate``: parity of each artefact with PyTorch, error rates with intervals, error reports."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from multiprocessing import get_context
from typing import Any, TypeVar

from velocity.artefacts.target import FLOAT_TARGET, RELEASED, Reference, targets
from velocity.config.evaluation import Evaluation
from velocity.config.reader import load_section
from velocity.errors import VelocityError
from velocity.evaluation.error_report import error_report, write_error_report
from velocity.evaluation.hypotheses import recognise
from velocity.evaluation.parity import (
    Recogniser,
    compare,
    decoded,
    decoding_parity,
    load_reference,
    own_agreement,
    parity_speech,
    remember,
    same_file,
    torch_reference,
    verdict,
)
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.evaluation.wer import NORMALIZER, measure_test_set, score
from velocity.files import write_json
from velocity.journal import open_journal
from velocity.progress import share_terminal
from velocity.project import CALIBRATION, ERROR_REPORTS, EXPORTED, FINETUNED, METRICS, PREPARED, test_manifests
from velocity.recognition.offline import VelocityASR
from velocity.stages import run

Item, Result = TypeVar("Item"), TypeVar("Result")
PROCESSES = min(2, os.cpu_count() or 1)  # of one thread each


@dataclass(frozen=True)
class Measured:
    """What came out for an artefact."""

    figures: dict[str, Any]  # its parity, without a verdict
    scores: dict[str, dict[str, Any]]  # by test set, if it recognised them whole
    wer: float | None  # over all test sets


def main() -> None:
    settings, seed, threads = (
        load_section("evaluate", Evaluation),
        load_section("seed", int),
        load_section("threads", int),
    )
    if not test_manifests():
        raise VelocityError(f"{PREPARED}/: no test set; `dvc repro` runs the stages that make them")
    journal = open_journal()
    journal.params(asdict(settings))
    names = list(exported())
    groups: dict[Reference, list[str]] = {}  # those that PyTorch's words of one form are for
    for name in names:
        groups.setdefault(targets()[name].comparison.words, []).append(name)
    measured: dict[str, Measured] = {}
    for found in at_once(partial(measure, settings, seed, threads), list(groups.values())):
        measured |= found

    scores: dict[str, dict[str, Any]] = {load_test_set(str(path))[0]: {} for path in test_manifests()}
    parity = {}
    for name in names:
        comparison, result = targets()[name].comparison, measured[name]
        for test_set, figures in result.scores.items():
            scores[test_set][name] = figures
        figures = dict(result.figures)
        if comparison.whole and comparison.near_float:
            figures["wer_difference_from_float"] = round(result.wer - measured[FLOAT_TARGET].wer, 6)
        parity[name] = figures | verdict(figures, comparison.bars)
    for name, target in targets().items():
        if target.same_as in parity and (EXPORTED / name).is_dir():
            model_file = targets()[target.same_as].model
            parity[name] = same_file(model_file, EXPORTED / name, EXPORTED / target.same_as, parity[target.same_as])
    for name, figures in parity.items():
        for shortfall in figures["failed"]:
            print(f"PARITY FAILED: {name}: {shortfall}", file=sys.stderr, flush=True)
    metrics = {
        "normalizer": NORMALIZER,
        "params": load_reference("float", FINETUNED, CALIBRATION).parameter_count(),
        "parity": parity,
        "test_sets": scores,
    }
    write_json(METRICS, metrics)
    journal.metrics(metrics)
    journal.artifact(METRICS)
    journal.model(*(EXPORTED / name for name in (FLOAT_TARGET, RELEASED) if name in parity))


def at_once(function: Callable[[Item], Result], items: list[Item]) -> list[Result]:
    """The function's results for the items, computed by ``PROCESSES`` processes at most."""
    if (processes := min(PROCESSES, len(items))) < 2:
        return [function(item) for item in items]
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=share_terminal) as pool:
        return list(pool.map(function, items))


def measure(settings: Evaluation, seed: int, threads: int, names: list[str]) -> dict[str, Measured]:
    """Compare the artefacts with PyTorch and recognise the test sets with them."""
    import torch

    torch.set_num_threads(threads)
    test_sets = dict(load_test_set(str(path)) for path in test_manifests())
    everything = [utterance for utterances in test_sets.values() for utterance in utterances]
    chosen = decoded(len(everything))  # what PyTorch decodes as well
    some = [everything[index] for index in chosen]
    speech = parity_speech(everything)
    runtime = VelocityASR(EXPORTED / FLOAT_TARGET)
    pytorch = cache(lambda form: torch_reference(load_reference(form, FINETUNED, CALIBRATION)))
    reference = cache(lambda form: remember(pytorch(form)))
    phones = cache(lambda form: remember(torch_reference(load_reference(form, FINETUNED, CALIBRATION), phones=True)))
    own = cache(lambda form: own_agreement(reference(form), pytorch(form), speech))
    words = cache(lambda form: recognise(Recogniser(runtime, pytorch(form)), some, f"PyTorch, {form}").hypotheses)
    measured = {}
    for name in names:
        comparison = targets()[name].comparison
        model = comparison.load(EXPORTED / name, 1)
        recogniser = model if isinstance(model, VelocityASR) else Recogniser(runtime, model)
        figures, scores, wer = compare(reference(comparison.reference), recogniser, speech), {}, None
        if getattr(model, "gives_phones", False):
            figures["phones"] = compare(phones(comparison.reference), partial(model, phones=True), speech)
        if comparison.reference == "int8":  # whose activations are rounded
            figures["own_agreement"] = own("int8")
        if comparison.whole:
            hypotheses = []
            for test_set, utterances in test_sets.items():
                found = transcribe(recogniser, utterances, f"{test_set}, {name}", threads, settings.worst)
                scores[test_set] = measure_test_set(utterances, found, settings.bootstrap, seed)
                hypotheses += found
            wer = score(_texts(everything), hypotheses).wer
            hypotheses = [hypotheses[index] for index in chosen]
        else:
            hypotheses = recognise(recogniser, some, name).hypotheses
        figures |= decoding_parity(_texts(some), words(comparison.words), hypotheses)
        measured[name] = Measured(figures, scores, wer)
    return measured


def exported() -> Iterator[str]:
    """The exported artefacts that run here, in the order of the targets; a line on stderr names the others."""
    present = {path.parent.name for path in EXPORTED.glob("*/config.json")}
    for name, target in targets().items():
        if name in present and target.comparison:
            if target.comparison.installed():
                yield name
            else:
                reason = f"{target.comparison.library} is not installed"
                print(f"evaluate: {name} is left out: {reason}", file=sys.stderr, flush=True)
    for name in sorted(present - targets().keys()):
        print(f"evaluate: {name} is left out: parity of such artefacts is not measured", file=sys.stderr, flush=True)


def transcribe(model: VelocityASR, utterances: Sequence[Utterance], title: str, threads: int, worst: int) -> list[str]:
    """The artefact's hypotheses of a test set; with an error report where the runtime itself runs the artefact."""
    own = native(model)
    found = recognise(model, utterances, title, threads if own else 1, confidences=own)
    if own:
        folder = ERROR_REPORTS / title.replace(", ", "-")
        write_error_report(error_report(utterances, found), title, folder, worst)
    return found.hypotheses


def native(model: VelocityASR) -> bool:
    """Whether the runtime itself runs the artefact."""
    return not isinstance(model, Recogniser)


def _texts(utterances: Sequence[Utterance]) -> list[str]:
    return [utterance.text for utterance in utterances]


if __name__ == "__main__":
    run(main)
