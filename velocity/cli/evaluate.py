"""Commands that measure a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from velocity.cli import options
from velocity.cli.app import app
from velocity.errors import VelocityError


@app.command()
def evaluate(
    test_set: Annotated[
        str,
        typer.Option(
            help="Speech with text: a folder in LibriSpeech layout (*.trans.txt), a .jsonl file of Lhotse cuts, or "
            "a name: <corpus>-test for the test speakers of this project's corpus, or libri_speech_test_clean.",
            metavar="NAME|DIR|MANIFEST",
        ),
    ],
    model: options.Model = None,
    quantized: options.Quantized = True,
    lm: options.LanguageModel = None,
    lm_weight: options.LanguageModelWeight = None,
    word_bonus: options.WordBonus = None,
    hotwords: options.HotWordPhrases = None,
    beam: options.Beam = None,
    report: Annotated[
        Path | None,
        typer.Option(
            help="Write an error report (HTML and JSON) to this folder: alignments, speakers, lengths.", metavar="DIR"
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Utterances recognised at the same time.", min=1)] = 1,
    threads: options.Threads = 1,
    as_json: options.Json = False,
) -> None:
    """Measure error rates on a test set, and show the errors.

    Prints word and character error rates with 95 % intervals, by length and by speaker. Decodes as transcribe does:
    with the model's language model, or greedily with --lm none. Files that cannot be read do not stop the others: they
    are listed at the end, and the exit status is 2.

    \b
    Examples:
      velocity-asr evaluate --test-set synthetic-test
      velocity-asr evaluate --test-set path/to/LibriSpeech/test-clean --model models/export/onnx --json
      velocity-asr evaluate --test-set path/to/LibriSpeech/test-clean --lm none --report errors
    """
    from velocity.commands.decoder import decoder_from
    from velocity.commands.evaluate import as_text
    from velocity.commands.evaluate import evaluate as measure

    recogniser = options.load(model, quantized, threads, lm)
    recogniser.decoder = decoder_from(recogniser, lm_weight, word_bonus, hotwords, beam)
    result, faults = measure(recogniser, test_set, jobs, report)
    print(json.dumps(result, indent=2) if as_json else as_text(result, _threads(threads)), flush=True)
    if faults:
        summary = f"{test_set}: these figures leave out:"
        raise VelocityError("\n  ".join([summary, *faults]))


@app.command()
def benchmark(
    model: options.Model = None,
    quantized: options.Quantized = True,
    threads: options.Threads = 1,
    as_json: options.Json = False,
) -> None:
    """Measure the speed, memory and size of a model on this machine.

    \b
    Examples:
      velocity-asr benchmark
      velocity-asr benchmark --model models/export/onnx --threads 2 --json
    """
    from velocity.commands.models import find_artefact
    from velocity.evaluation.speed import machine, measure, rtf_name

    folder = find_artefact(model, quantized)
    result = {"model": str(folder), "machine": machine(), **measure(folder, threads=threads)}
    if as_json:
        print(json.dumps(result, indent=2))
        return
    cpu, cores, onnxruntime = (result["machine"][name] for name in ("cpu", "cores", "onnxruntime"))
    rows = {
        "model": result["model"],
        "machine": f"{cpu}, {cores} cores, onnxruntime {onnxruntime}",
        "size": f"{result['bytes'] / 1e6:.2f} MB",
        "real-time factor": f"{result[rtf_name(threads)]:.4f} with {_threads(threads)}",
        "by length": ", ".join(f"{seconds:g} s: {rtf:.4f}" for seconds, rtf in result["scaling"]),
        "latency": f"{1000 * result['latency_seconds']:.0f} ms for {result['clip_seconds']:g} s of audio",
        "cold start": f"{result['cold_start_seconds']:.2f} s from starting the command to the text",
        "peak memory": f"{result['peak_rss_bytes'] / 1e6:.0f} MB",
    }
    print("\n".join(f"{name:<16}  {value}" for name, value in rows.items()))


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
