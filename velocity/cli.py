"""The command ``velocity-asr``: options here, work in ``velocity.commands`` and the package.

Modules load inside the commands that need them: a transcription starts without anything it does not use.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from velocity.commands.formats import Format
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.runtime import VelocityASR

app = typer.Typer(
    help="""A small English speech recogniser, and the pipeline that trains it.

    Example: velocity-asr transcribe speech.wav""",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda name: name.replace("_", "-"),  # --input_dir is --input-dir
    },
)

Model = Annotated[
    str | None,
    typer.Option(
        help="A folder with an exported model or with trained weights (model.safetensors, exported when first used), "
        "the name of a model shipped with the package, or models:/name@alias in the MLflow registry. "
        "Default: models/export here, else a shipped one.",
        metavar="M",
    ),
]
Quantized = Annotated[bool, typer.Option(help="The INT8 model or the floating-point one, where there are both.")]
Threads = Annotated[int, typer.Option(help="Processor threads.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from. Goes anywhere.")] = False,
) -> None:
    pass  # main() looks for --debug itself: a command line that cannot be parsed has no context to ask


@app.command()
def transcribe(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", show_default=False)] = None,
    model: Model = None,
    quantized: Quantized = True,
    input_dir: Annotated[Path | None, typer.Option(help="Transcribe every audio file below this folder.")] = None,
    output_dir: Annotated[Path | None, typer.Option(help="Write one file a transcript here, not to stdout.")] = None,
    format: Annotated[
        Format, typer.Option(help="json gives one object a line; srt and vtt are subtitles.")
    ] = Format.TEXT,
    threads: Threads = 1,
) -> None:
    """Turn speech in audio files into text.

    Several files give lines of "FILE<TAB>text". A file that cannot be read does not stop the others: such files are
    listed at the end, and the exit status is 2.

    \b
    Examples:
      velocity-asr transcribe speech.wav
      velocity-asr transcribe talk.flac --format srt > talk.srt
      velocity-asr transcribe --input-dir recordings --output-dir transcripts --format json
    """
    from velocity.commands.transcribe import find_audio, output_paths, transcribe_files

    chosen = list(files or []) + (find_audio(input_dir) if input_dir else [])
    if not chosen:
        raise VelocityError("nothing to transcribe: name audio files, or a folder of them with --input-dir")
    if format in (Format.SRT, Format.VTT) and len(chosen) > 1 and output_dir is None:
        raise VelocityError(f"subtitles ({format}) of {len(chosen)} files need a folder to go to: add --output-dir D")
    targets = output_paths(chosen, input_dir, output_dir, format) if output_dir else None
    failures = transcribe_files(_load(model, quantized, threads), chosen, targets, format)
    if len(chosen) == 1 and failures:
        raise VelocityError(failures[0])
    if failures:
        summary = f"{len(failures)} of {len(chosen)} files could not be transcribed:"
        raise VelocityError("\n  ".join([summary, *failures]))


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

    recogniser = _load(model, quantized, threads)
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


@app.command()
def export(
    target: Annotated[str, typer.Option(help="onnx (floating point) or onnx-int8.", metavar="T")],
    out: Annotated[Path, typer.Option(help="The folder to write; an older export in it is replaced.", metavar="DIR")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="A folder with model.safetensors, tokenizer.model and, for INT8, calibration.json. Default: what this "
            "project has trained.",
            metavar="M",
        ),
    ] = None,
) -> None:
    """Turn trained weights into an artefact that runs without PyTorch.

    \b
    Example:
      velocity-asr export --target onnx-int8 --out my-model
    """
    from velocity.export.targets import export_target
    from velocity.export.trained import folder_model, project_model

    export_target(target, folder_model(model) if model else project_model(), out)
    print(f"{out}: {target}")


@app.command()
def profile(name: Annotated[str, typer.Argument(metavar="NAME|FILE")]) -> None:
    """Lay a profile over params.yaml, keeping its comments.

    NAME is a file in profiles/. Sections are merged key by key, `corpora` is replaced whole. `git diff params.yaml`
    shows the change, `git checkout params.yaml` takes it back.

    \b
    Example:
      velocity-asr profile speechocean762
    """
    from velocity.commands.profile import apply_profile

    changes = apply_profile(name)
    print("\n".join(changes) if changes else "params.yaml: says so already")


@app.command()
def accept() -> None:
    """Take the data that passed validation last as what later deliveries are compared with.

    Writes data/accepted.json, which belongs into git; the limits of a drift are validate.drift in params.yaml.

    \b
    Example:
      dvc repro validate && velocity-asr accept && git add data/accepted.json
    """
    from velocity.commands.accept import ACCEPTED
    from velocity.commands.accept import accept as accept_data

    print("\n".join([f"{ACCEPTED}: accepted", *accept_data()]))


def _load(model: str | None, quantized: bool, threads: int) -> VelocityASR:
    from velocity.commands.models import find_artefact
    from velocity.runtime import VelocityASR

    return VelocityASR(find_artefact(model, quantized), threads)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _print_table(rows: dict[str, str]) -> None:
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))


def main(arguments: list[str] | None = None) -> None:
    """Run the command; a mistake becomes ``error: …`` on stderr and exit status 2, a traceback only with --debug."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Before NumPy loads: the features' products are small, and OpenBLAS' threads would only wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        status = app(given, prog_name="velocity-asr", standalone_mode=False)
    except (VelocityError, typer.BadParameter.__base__) as error:  # the latter: click's UsageError, wherever it lives
        if debug:
            raise
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {message}", file=sys.stderr)
        status = 2
    except ModuleNotFoundError as error:
        if debug:
            raise
        print(f"error: {error.name} is not installed: pip install 'velocity-asr[pipeline]'", file=sys.stderr)
        status = 2
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
