"""Options that several commands have, and the model they choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from velocity.runtime import VelocityASR

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


def load(model: str | None, quantized: bool, threads: int) -> VelocityASR:
    from velocity.commands.models import find_artefact
    from velocity.runtime import VelocityASR

    return VelocityASR(find_artefact(model, quantized), threads)
