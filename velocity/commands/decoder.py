"""The decoder that a command's options select."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from velocity.errors import VelocityError
from velocity.recognition.decoding.decoder import Decoder

if TYPE_CHECKING:
    from velocity.recognition.offline import VelocityASR

HOT = 1.5  # default weight of a phrase, in nats per letter
FILE = re.compile(r"(~|\.{0,2})/.*|.*\.(txt|tsv|csv|lst|list)")  # a name, missing; "Dr. Smith" and "AC/DC" are phrases


def decoder_from(
    model: VelocityASR,
    lm_weight: float | None = None,
    word_bonus: float | None = None,
    hotwords: str | None = None,
    beam: int | None = None,
    n_best: int = 1,
) -> Decoder:
    """The decoder for ``model`` and its language model that ``--lm-weight``, ``--hotwords``, ``--beam`` … select.

    Raises VelocityError for a file that cannot be read, and for options that have no effect without another one.
    """
    if model.language_model is None and (lm_weight is not None or word_bonus is not None):
        raise VelocityError("--lm-weight and --word-bonus need a language model: add --lm FILE")
    for option, value in (("--lm-weight", lm_weight), ("--word-bonus", word_bonus)):
        if value is not None and not math.isfinite(value):
            raise VelocityError(f"{option} {value}: must be a finite number")
    if beam is not None and n_best > beam:
        raise VelocityError(f"--n-best {n_best}: exceeds the {beam} hypotheses that --beam keeps")
    phrases = read_hotwords(hotwords) if hotwords is not None else None
    return model.new_decoder(phrases, beam, n_best, lm_weight, word_bonus)


def read_hotwords(source: str) -> dict[str, float]:
    """Normalised phrases → nats per letter, from a file with one phrase per line, optionally followed by a tab and a
    weight, or from ``A,B``.

    Raises VelocityError for no phrase, for a weight that is not a number above 0, and for what only a file is named
    like (``/…``, ``./…``, ``….txt``) if there is none.
    """
    from velocity.text import normalize

    if os.path.isfile(source):  # unlike Path.is_file, also for a list that is longer than a file name may be
        try:
            lines, where = Path(source).read_text(encoding="utf-8-sig").splitlines(), source
        except (OSError, UnicodeDecodeError) as error:
            raise VelocityError(f"{source}: not a text file with one phrase per line") from error
    elif FILE.fullmatch(source):
        raise VelocityError(f"{source}: no such file with hot words")
    else:
        lines, where = source.split(","), "--hotwords"
    phrases = {}
    for number, line in enumerate(lines, start=1):
        spoken, tab, weight = line.partition("\t")
        phrase = normalize(spoken)
        if not phrase:
            if line.strip():
                raise VelocityError(f"{where} line {number}: {line!r} has no letters")
            continue
        try:
            phrases[phrase] = float(weight) if tab else HOT
            valid = 0 < phrases[phrase] < 100
        except ValueError:
            valid = False
        if not valid:
            raise VelocityError(
                f"{where} line {number}: {weight!r} is not a weight; give nats per letter, such as {HOT}"
            )
    if not phrases:
        raise VelocityError(f"{source or where}: no hot word in it")
    return phrases
