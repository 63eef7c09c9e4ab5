"""Commands that measure a model."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from velocity.cli.app import app
from velocity.cli.options import Json, Model, Quantized, Threads, load


@app.command()
def evaluate(
    test_set: Annotated[
        str,
        typer.Option(
            help="A folder in LibriSpeech layout (*.trans.txt), a .jsonl of Lhotse cuts, or a name: <corpus>-test of "
            "this project, libri_speech_test_clean.",
            metavar="NAME|DIR|MANIFEST",
        ),
    ],
    model: Model = None,
    quantized: Quantized = True,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Measure word and character error rates on speech with known text.

    \b
    Examples:
      velocity-asr evaluate --test-set synthetic-test
      velocity-asr evaluate --test-set path/to/LibriSpeech/test-clean --model models/export/onnx --json
    """
    from velocity.evaluation.recognition import recognise
    from velocity.evaluation.testset import load_test_set
    from velocity.evaluation.wer import NORMALIZER, score, summarize

    recogniser = load(model, quantized, threads)
    name, utterances = load_test_set(test_set)
    recognition = recognise(recogniser, utterances, name)
    figures = summarize(score([utterance.text for utterance in utterances], recognition.hypotheses))
    result = {
        "test_set": name,
        "model": str(recogniser.folder),
        **figures,
        "audio_seconds": round(recognition.audio_seconds, 2),
        "rtf": round(recognition.rtf, 5),
        "normalizer": NORMALIZER,
    }
    if as_json:
        print(json.dumps(result, indent=2))
        return
    percent = lambda rate: f"{100 * rate:.2f} %"  # noqa: E731
    interval = lambda bounds: f"{100 * bounds[0]:.2f}–{100 * bounds[1]:.2f} %"  # noqa: E731
    _print_table(
        {
            "test set": name,
            "model": result["model"],
            "WER": f"{percent(result['wer'])}  (95 % interval {interval(result['wer_ci95'])})",
            "CER": f"{percent(result['cer'])}  (95 % interval {interval(result['cer_ci95'])})",
            "utterances": f"{result['utterances']}, {result['words']} words, {result['audio_seconds']:.0f} s",
            "real-time factor": f"{result['rtf']:.4f} with {_count(threads, 'thread')}",
            "normaliser": NORMALIZER,
        }
    )


@app.command()
def benchmark(
    model: Model = None,
    quantized: Quantized = True,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Measure speed, memory and size of a model on this machine.

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
    scaling = ", ".join(f"{seconds:g} s: {rtf:.4f}" for seconds, rtf in result["scaling"])
    _print_table(
        {
            "model": result["model"],
            "machine": f"{result['machine']['cpu']}, {result['machine']['cores']} cores, "
            f"onnxruntime {result['machine']['onnxruntime']}",
            "size": f"{result['bytes'] / 1e6:.2f} MB",
            "real-time factor": f"{result[rtf_name(threads)]:.4f} with {_count(threads, 'thread')}",
            "by length": scaling,
            "latency": f"{1000 * result['latency_seconds']:.0f} ms for {result['clip_seconds']:g} s of audio",
            "cold start": f"{result['cold_start_seconds']:.2f} s from the command to the text",
            "peak memory": f"{result['peak_rss_bytes'] / 1e6:.0f} MB",
        }
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_table(rows: dict[str, str]) -> None:
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))
