"""Commands for language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from velocity.cli import options
from velocity.cli.app import app
from velocity.errors import VelocityError

lm = typer.Typer(help="Build and tune language models for --lm.", rich_markup_mode=None)
app.add_typer(lm, name="lm")


@lm.callback(invoke_without_command=True)
def group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@lm.command()
def build(
    texts: Annotated[
        list[Path],
        typer.Argument(metavar="TEXT...", help="Plain text in UTF-8, one sentence per line; also .xz and .gz."),
    ],
    out: Annotated[
        Path,
        typer.Option(help="The file to write; an ARPA file, for other tools, if it ends in .arpa.", metavar="FILE"),
    ],
    order: Annotated[int, typer.Option(help="Length of the longest n-grams, in words.", min=2, max=6)] = 3,
    prune: Annotated[
        int, typer.Option(help="Leave out n-grams of three or more words that occur at most this often.", min=0)
    ] = 0,
    vocabulary: Annotated[
        int, typer.Option(help="Words to keep, most frequent first.", min=1, max=10_000_000)
    ] = 65_000,
    max_bytes: Annotated[
        int,
        typer.Option(
            help="Maximum size of the file in bytes. A larger model is quantised to eight bits and pruned.",
            min=1,
        ),
    ] = 5_000_000,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="A test set, as for evaluate, or a text file. Lines that share eight words in a row with it are left "
            "out and reported. May be repeated.",
            metavar="DIR|FILE",
        ),
    ] = None,
    recurrent: Annotated[
        int,
        typer.Option(
            help="Train a recurrent network for so many passes over the text, too. It is mixed with the n-grams where "
            "words are looked up by their phones. Needs velocity-asr[train].",
            metavar="EPOCHS",
            min=0,
        ),
    ] = 0,
) -> None:
    """Estimate a word n-gram language model from text.

    The method is modified Kneser–Ney smoothing, with pruning by relative entropy. The text is normalised like
    transcripts. Numbers written in digits need velocity-asr[train]. Memory: about 70 bytes for each different n-gram;
    13 million words take 1 GB and a few minutes, and twenty more for each pass of --recurrent. That training goes on
    where it was interrupted, from checkpoints in FILE.training.

    \b
    Examples:
      velocity-asr lm build sentences.txt --out calls.lm
      velocity-asr lm build novels.txt.xz --exclude speech/test-clean --recurrent 3 --out english.lm
      velocity-asr transcribe speech.wav --lm calls.lm
    """
    from velocity.commands.lm import build as build_model

    print(build_model(texts, out, order, prune, vocabulary, max_bytes, exclude or [], recurrent))


@lm.command()
def tune(
    test_set: Annotated[
        list[str],
        typer.Option(
            help="Development speech with text, as for evaluate. May be repeated: every set has the same weight.",
            metavar="NAME|DIR|MANIFEST",
        ),
    ],
    model: options.Model = None,
    quantized: options.Quantized = True,
    lm: options.LanguageModel = None,
    only: Annotated[str, typer.Option(help="Use only utterances whose id matches.", metavar="REGEX")] = "",
    every: Annotated[int, typer.Option(help="Use only every N-th utterance.", metavar="N", min=1)] = 1,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Write the best weights to the model's config.json: it then uses this language model by default.",
        ),
    ] = False,
    threads: options.Threads = 1,
) -> None:
    """Find the weight and the word bonus that give the fewest errors.

    Use development speech: neither training speech nor a test set whose error rates you report. About a hundred
    utterances are enough; each is recognised once and decoded some twenty times. Repeat this when the acoustic model
    changes.

    \b
    Examples:
      velocity-asr lm tune --test-set speech/dev
      velocity-asr lm tune --model my-model --lm my-model/calls.lm --test-set speech/dev --only '^(118|1737)-' --write
    """
    from velocity.commands.lm import BONUSES, WEIGHTS, as_text, name_beside, write_weights
    from velocity.commands.lm import tune as find_weights

    recogniser = options.load(model, quantized, threads, lm)
    if recogniser.language_model is None:
        raise VelocityError(f"{recogniser.folder}: it has no language model: add --lm FILE")
    if write:
        name_beside(recogniser, lm)  # an error now, not after the work
    rows = find_weights(recogniser, test_set, only, every, WEIGHTS, BONUSES)
    print(as_text(rows))
    if write:
        print(write_weights(recogniser, lm, next(row for row in rows if row["weight"])))
