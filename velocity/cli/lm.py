"""Commands for language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velocity.cli.app import app

lm = typer.Typer(help="Build language models for --lm.", rich_markup_mode=None)
app.add_typer(lm, name="lm")


@lm.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@lm.command()
def build(
    texts: Annotated[list[Path], typer.Argument(metavar="TEXT", help="Plain text in UTF-8, one sentence per line.")],
    out: Annotated[Path, typer.Option(help="The ARPA file to write.", metavar="FILE")],
    order: Annotated[int, typer.Option(help="Length of the longest n-grams, in words.", min=2, max=6)] = 3,
    prune: Annotated[
        int, typer.Option(help="Leave out n-grams of three or more words that occur at most this often.", min=0)
    ] = 0,
) -> None:
    """Estimate a word n-gram model from text (modified Kneser–Ney).

    The text is normalised like transcripts. Numbers written in digits need velocity-asr[train].

    \b
    Examples:
      velocity-asr lm build sentences.txt --out lm.arpa
      velocity-asr transcribe speech.wav --lm lm.arpa
    """
    from velocity.commands.lm import build as build_model

    print(build_model(texts, out, order, prune))
