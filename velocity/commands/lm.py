"""``velocity-asr lm build``: a word n-gram model from plain text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from velocity.errors import VelocityError
from velocity.recognition.decoding.kneser_ney import estimate, write_arpa
from velocity.text import normalize


def build(texts: Sequence[Path], out: Path, order: int, prune: int) -> str:
    """Write the model of the lines of ``texts`` to ``out``; return one line with its size.

    Raises VelocityError when a text cannot be read or there are no words.
    """
    sentences = list(filter(None, (normalize(line) for path in texts for line in _lines(path))))
    if not sentences:
        raise VelocityError(f"{', '.join(map(str, texts))}: no words")
    model = estimate(sentences, order, prune)
    write_arpa(model, out)
    sizes = ", ".join(f"{len(ngrams)} {n}-grams" for n, ngrams in enumerate(model.probabilities, start=1))
    words = sum(len(sentence.split()) for sentence in sentences)
    return f"{out}: {sizes} of {words} words in {len(sentences)} lines"


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise VelocityError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not UTF-8 text") from error
