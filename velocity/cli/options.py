"""Options that several commands share, and the model they load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from velocity.recognition.offline import VelocityASR

Model = Annotated[
    str | None,
    typer.Option(
        help="The model: a folder with an exported model or with trained weights (model.safetensors, exported on first "
        "use), the name of a model shipped with the package, or models:/name@alias in the MLflow registry. "
        "Default: models/export if it exists, otherwise a shipped model.",
        metavar="M",
    ),
]
Quantized = Annotated[bool, typer.Option(help="Use the INT8 or the floating-point model, if both exist.")]
Threads = Annotated[int, typer.Option(help="Threads for one recognition.", min=1)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

LanguageModel = Annotated[
    Path | None,
    typer.Option(
        "--lm",
        help="A word n-gram language model: a file written by `velocity-asr lm build`, or an ARPA file; none: greedy "
        "decoding without one. Default: the one that comes with the model; the shipped models have one.",
        metavar="FILE|none",
        show_default=False,
    ),
]
LanguageModelWeight = Annotated[
    float | None,
    typer.Option(
        "--lm-weight", help="Weight of the language model. Default: as tuned for the model, otherwise 0.5.", min=0.0
    ),
]
WordBonus = Annotated[
    float | None,
    typer.Option(
        help="Bonus per word (natural logarithm), because a language model alone favours few words. "
        "Default: as tuned for the model, otherwise 2."
    ),
]
HotWordPhrases = Annotated[
    str | None,
    typer.Option(
        "--hotwords",
        help='Names and phrases to prefer: "A,B", or a file with one per line, optionally with a tab and a weight '
        "(natural logarithm per letter). Default weight: 1.5.",
        metavar="FILE|A,B",
    ),
]
Beam = Annotated[
    int | None,
    typer.Option(
        help="Width of the beam search. Default: 256 for phones, 32 for letters with a language model or hot "
        "words, otherwise greedy decoding.",
        min=1,
    ),
]
NBest = Annotated[
    int,
    typer.Option("--n-best", help="Number of hypotheses to print, best first. More than 1 needs --format json.", min=1),
]


def load(model: str | None, quantized: bool, threads: int, lm: Path | None = None) -> VelocityASR:
    from velocity.commands.models import find_artefact
    from velocity.recognition.offline import VelocityASR

    return VelocityASR(find_artefact(model, quantized), threads, lm)
