"""``velocity-asr lm build``: a word n-gram model from plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from velocity.decoding.kneser_ney import estimate, write_arpa
from velocity.errors import VelocityError
from velocity.text import normalize


def build(texts: Sequence[Path], out: Path, order: int, prune: int) -> str:
    """Write the model of the lines of ``texts`` to ``out``; return a line that says how large it is.

    Raises VelocityError when a text cannot be read or all of them hold no word.
    """
    counts = {"sentences": 0, "words": 0}

    def sentences() -> Iterator[str]:
        for line in (line for path in texts for line in _lines(path)):
            if sentence := normalize(line):
                counts["sentences"] += 1
                counts["words"] += len(sentence.split())
                yield sentence

    model = estimate(sentences(), order, prune)
    if not counts["words"]:
        raise VelocityError(f"{', '.join(map(str, texts))}: no words in it")
    write_arpa(model, out)
    sizes = ", ".join(f"{len(ngrams)} {n}-grams" for n, ngrams in enumerate(model.probabilities, start=1))
    return f"{out}: {sizes} of {counts['words']} words in {counts['sentences']} lines"


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise VelocityError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not text in UTF-8") from error
