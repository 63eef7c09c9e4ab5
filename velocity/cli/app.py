"""The root of the command line: what all commands share."""

from __future__ import annotations

from typing import Annotated

import typer

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


@app.callback()
def options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error. May be given anywhere.")
    ] = False,
) -> None:
    pass  # main() handles --debug itself, because a command line that cannot be parsed has no context
