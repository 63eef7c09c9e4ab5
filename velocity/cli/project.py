"""Commands for projects that train models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from velocity.cli.app import app


class WithTargets(TyperCommand):
    """Help that ends with the list of targets."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        from velocity.artefacts.target import targets

        with formatter.section("Targets"):
            formatter.write_dl([(name, target.about) for name, target in targets().items()])


@app.command(cls=WithTargets)
def export(
    target: Annotated[str, typer.Option(help="The target to export, see below.", metavar="T")],
    out: Annotated[Path, typer.Option(help="The folder to write; an older export in it is replaced.", metavar="DIR")],
    model: Annotated[
        Path | None,
        typer.Option(
            help="A folder with model.safetensors, tokenizer.model and, for INT8, calibration.json. Default: what this "
            "project has trained.",
            metavar="M",
        ),
    ] = None,
    input: Annotated[
        Literal["mel", "waveform"],
        typer.Option(help="The input of the exported model: log-mel features, or samples at 16 kHz."),
    ] = "mel",
) -> None:
    """Export trained weights to run without PyTorch.

    \b
    Examples:
      velocity-asr export --target onnx-int8 --out my-model
      velocity-asr export --target tflite-int8 --input waveform --out for-android
    """
    from dataclasses import replace

    from velocity.artefacts.target import export_target
    from velocity.artefacts.trained import folder_model, project_model

    trained = folder_model(model) if model else project_model()
    export_target(target, replace(trained, input=input), out)
    print(f"{out}: {target}")


@app.command()
def profile(name: Annotated[str, typer.Argument(metavar="NAME|FILE")]) -> None:
    """Apply a profile to params.yaml, keeping its comments.

    NAME is a file in profiles/. Sections are merged key by key; `corpora` is replaced as a whole. `git diff
    params.yaml` shows the change, `git checkout params.yaml` reverts it.

    \b
    Example:
      velocity-asr profile speechocean762
    """
    from velocity.commands.profile import apply_profile

    changes = apply_profile(name)
    print("\n".join(changes) if changes else "params.yaml: unchanged, the profile is already applied")


@app.command()
def accept() -> None:
    """Accept the validated data as the reference for drift.

    Drift is a change in what the data is like: validate compares later data with this reference. Writes
    data/accepted.json; commit it to git. The limits are in params.yaml under validate.drift.

    \b
    Example:
      dvc repro validate && velocity-asr accept && git add data/accepted.json
    """
    from velocity.commands.accept import ACCEPTED
    from velocity.commands.accept import accept as accept_data

    print("\n".join([f"{ACCEPTED}: accepted", *accept_data()]))
