"""Options that several commands have, and the model they choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from velocity.recognition.offline import VelocityASR

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

LanguageModel = Annotated[
    Path | None,
    typer.Option(
        "--lm", help="A word n-gram model, ARPA or KenLM's binary: see `velocity-asr lm build`.", metavar="FILE"
    ),
]
LanguageModelWeight = Annotated[
    float | None, typer.Option("--lm-weight", help="How much the language model counts; 0.5 if not given.", min=0.0)
]
WordBonus = Annotated[
    float | None,
    typer.Option(
        help="Added to the score for each word, since a language model prefers few (natural logarithm); 2 if not given."
    ),
]
HotWordPhrases = Annotated[
    str | None,
    typer.Option(
        "--hotwords",
        help='Names and phrases to listen for: "A,B", or a file with one a line, a tab and a weight after it if you '
        "like (natural logarithm a letter, 1.5 if not given).",
        metavar="FILE|A,B",
    ),
]
Beam = Annotated[
    int | None,
    typer.Option(
        help="Search with that many hypotheses; without it, 16 with a language model or hot words, else the best path.",
        min=1,
    ),
]
NBest = Annotated[int, typer.Option("--n-best", help="Hypotheses to give, the best first.", min=1)]


def load(model: str | None, quantized: bool, threads: int) -> VelocityASR:
    from velocity.commands.models import find_artefact
    from velocity.recognition.offline import VelocityASR

    return VelocityASR(find_artefact(model, quantized), threads)
