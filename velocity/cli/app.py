"""The command line's root: what all commands share."""

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
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from. Goes anywhere.")] = False,
) -> None:
    pass  # main() looks for --debug itself: a command line that cannot be parsed has no context to ask
