"""ARPA files, the text format that other tools write and read (SRILM, lmplz, KenLM): logarithms to base 10."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np

from velocity.errors import VelocityError
from velocity.files import atomic_path
from velocity.recognition.language_model.tables import (
    END,
    NEVER,
    SPECIAL,
    START,
    START_ID,
    UNKNOWN,
    Tables,
    build_tables,
)

LN10 = math.log(10)
NO_UNKNOWN = -100 * LN10  # the log-probability of <unk> if a file lacks it, as in KenLM
POSITIVE = 1e-4  # nats: rounding may lift a probability above 1 by so much


def read_arpa(path: str | Path) -> Tables:
    """Raises VelocityError when ``path`` is not an ARPA file, is incomplete, or lacks the beginning of an n-gram."""
    try:
        with open(path, encoding="utf-8") as file:
            return _read(file)
    except (ValueError, KeyError) as error:  # ValueError: also of UTF-8
        raise VelocityError(
            f"{path}: neither made by `velocity-asr lm build` nor an ARPA file ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    return f"{error} is not among the unigrams" if isinstance(error, KeyError) else str(error)


def _read(file: TextIO) -> Tables:
    sizes = _sizes(file)
    if not sizes:
        raise ValueError("no n-grams announced")
    unigrams = {fields[0]: values for fields, *values in _section(file, 1, sizes[0])}
    if len(unigrams) != sizes[0]:
        raise ValueError("a unigram twice")
    unigrams = {UNKNOWN: [NO_UNKNOWN, 0.0], START: [NEVER, 0.0], END: [NEVER, 0.0], **unigrams}
    words = [*SPECIAL, *sorted(unigrams.keys() - set(SPECIAL))]
    index = {word: i for i, word in enumerate(words)}
    columns = np.array([unigrams[word] for word in words])
    levels, keys = [(np.zeros(len(words), int), np.arange(len(words)), *columns.T)], []
    for n, size in enumerate(sizes[1:], start=2):
        ids, values = array("q"), array("d")
        for fields, *pair in _section(file, n, size):
            ids.extend([index[word] for word in fields])
            values.extend(pair)
        grams, pairs = np.array(ids, dtype=np.int64).reshape(-1, n), np.array(values).reshape(-1, 2)
        rows = grams[:, 0]
        for known, word in zip(keys, grams[:, 1:-1].T, strict=True):
            rows = _find(known, rows * len(words) + word, n)
        key = rows * len(words) + grams[:, -1]
        order = np.argsort(key, kind="stable")
        keys.append(key[order])
        if (np.diff(keys[-1]) == 0).any():
            raise ValueError(f"a {n}-gram twice")
        levels.append((rows[order], grams[order, -1], *pairs[order].T))
    return build_tables(words, levels)


def _sizes(file: TextIO) -> list[int]:
    line = file.readline(1000)
    while line and not line.strip():
        line = file.readline(1000)
    if line.strip() != "\\data\\":
        raise ValueError("it does not begin with \\data\\")
    sizes: list[int] = []
    while (line := file.readline(1000)).strip():
        name, _, size = line.partition("=")
        if name.split() != ["ngram", str(len(sizes) + 1)]:
            raise ValueError(f"{line.strip()[:40]!r} announces no n-grams")
        sizes.append(int(size))
    return sizes


def _section(file: TextIO, n: int, size: int) -> Iterator[tuple[list[str], float, float]]:
    """Yield (words, log-probability, back-off) of each n-gram."""
    line = file.readline(1000)
    while line and not line.strip():
        line = file.readline(1000)
    if line.strip() != f"\\{n}-grams:":
        raise ValueError(f"{line.strip()[:40]!r} where the {n}-grams should begin")
    found = 0
    for line in file:
        fields = line.split()
        if not fields or fields == ["\\end\\"]:
            break
        if not n + 1 <= len(fields) <= n + 2:
            raise ValueError(f"{line.strip()[:40]!r} is no {n}-gram")
        log_prob, backoff = float(fields[0]), float(fields[n + 1]) if len(fields) > n + 1 else 0.0
        if not (math.isfinite(backoff) and -math.inf < log_prob <= POSITIVE):
            raise ValueError(f"{line.strip()[:40]!r} has no logarithm of a probability")
        found += 1
        yield fields[1 : n + 1], LN10 * log_prob, LN10 * backoff
    if found != size:
        raise ValueError(f"it has {found} of {size} {n}-grams")


def _find(keys: np.ndarray, wanted: np.ndarray, n: int) -> np.ndarray:
    rows = np.searchsorted(keys, wanted)
    if not len(keys) or (keys[np.minimum(rows, len(keys) - 1)] != wanted).any():
        raise ValueError(f"a {n}-gram whose first {n - 1} words are not in it")
    return rows


def write_arpa(tables: Tables, path: str | Path) -> None:
    """Sorted: the same tables give the same bytes. A quantised model is written with its quantised values."""
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8") as file:
        file.writelines(_lines(tables))


def _lines(tables: Tables) -> Iterator[str]:
    yield "\\data\\\n"
    for n, level in enumerate(tables.levels, start=1):
        yield f"ngram {n}={len(level.words)}\n"
    texts: list[str] = []
    for n, level in enumerate(tables.levels, start=1):
        yield f"\n\\{n}-grams:\n"
        own = [tables.words[i] for i in level.words.tolist()]
        texts = [f"{texts[p]} {w}" for p, w in zip(tables.prefixes(n - 1), own, strict=True)] if n > 1 else own
        log_probs = (level.log_probs.decoded() / LN10).tolist()
        backoffs = dict(zip(level.contexts.tolist(), (level.backoffs.decoded() / LN10).tolist(), strict=True))
        for row, (text, log_prob) in enumerate(zip(texts, log_probs, strict=True)):
            value = "-99" if n == 1 and row == START_ID else f"{log_prob:.7f}"
            yield f"{value}\t{text}\t{backoffs[row]:.7f}\n" if row in backoffs else f"{value}\t{text}\n"
    yield "\n\\end\\\n"
