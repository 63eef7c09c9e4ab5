"""``velocity-asr lm``: build a language model from plain text, and fit its weights to an acoustic model."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from velocity.errors import VelocityError
from velocity.files import write_json
from velocity.phones import pronunciations
from velocity.progress import Progress, track
from velocity.recognition.language_model.arpa import write_arpa
from velocity.recognition.language_model.counts import count, read_words
from velocity.recognition.language_model.file import file_size, write_file
from velocity.recognition.language_model.kneser_ney import smooth
from velocity.recognition.language_model.pruning import fit, prune, pruned_size, quantise
from velocity.recognition.language_model.recurrent import Recurrent
from velocity.recognition.language_model.tables import SPECIAL, Tables
from velocity.recognition.offline import VelocityASR
from velocity.text import normalize

if TYPE_CHECKING:
    from velocity.evaluation.testset import Utterance

PACKED = {".xz": lzma.open, ".gz": gzip.open}
WITHOUT = ", without pronunciations, which need espeak-ng (pip install 'velocity-asr[train]')"
SHARED = 8  # words in a row by which a line counts as taken from a test set


def build(
    texts: Sequence[Path],
    out: Path,
    order: int,
    cut: int,
    vocabulary: int,
    most: int,
    excluded: Sequence[str] = (),
    epochs: int = 0,
) -> str:
    """Write the model of the lines of ``texts`` to ``out``, an ARPA file if so named; return lines with its size.

    ``cut``: n-grams of three and more words seen at most this often are left out. ``most``: bytes of the file; n-grams
    that tell least are left out, and values have eight bits if they would not fit as they are. ``excluded``: test sets
    and files of sentences. ``epochs``: passes over the text of the training of a recurrent network, a part of the file;
    0: none. It goes on from the checkpoints in ``out``.training.
    Raises VelocityError when a text cannot be read or there are no words.
    """
    if out.is_dir() or out.resolve() in {path.resolve() for path in texts}:
        raise VelocityError(f"{out}: {'is a folder' if out.is_dir() else 'is one of the texts'}; name another file")
    arpa = out.suffix == ".arpa"
    if epochs and arpa:
        raise VelocityError(f"{out}: an ARPA file has no room for a recurrent network: name the file otherwise")
    if epochs and find_spec("torch") is None:
        raise VelocityError("a recurrent network needs PyTorch (pip install 'velocity-asr[train]')")
    filters = Exclusion(sentence for name in excluded for sentence in _sentences(name))
    words, text = read_words(_normalised(texts, filters), vocabulary)
    if not len(text):
        raise VelocityError(f"{', '.join(map(str, texts))}: no words")
    network = _trained(text, len(words), epochs, out) if epochs else None
    with Progress("estimate", order + 3) as progress:
        counts = count(text, words, order, progress.advance)
        spoken = None if arpa else _pronunciations(words)
        progress.advance()
        model = replace(smooth(words, counts, cut), pronunciations=spoken, recurrent=network)
        progress.advance()
        tables = model.tables()
        if file_size(tables) > most:
            tables = quantise(prune(model, fit(model, pruned_size(model), most)))
        progress.advance()
    if (size := file_size(tables)) > most:
        alone = "words and the network" if network else "words"
        raise VelocityError(f"{out}: the {len(words):,} {alone} alone take {size:,} bytes: lower --vocabulary")
    if arpa:
        write_arpa(tables, out)
    else:
        write_file(tables, out)
    return "\n".join([*filters.report(), _described(tables, out)])


def _trained(text: np.ndarray, words: int, epochs: int, out: Path) -> Recurrent:
    from velocity.training.recurrent import train_recurrent

    return train_recurrent(text, words, epochs, out.with_name(f"{out.name}.training"))


def _described(tables: Tables, out: Path) -> str:
    sizes = ", ".join(f"{len(level.words):,} {n}-grams" for n, level in enumerate(tables.levels, start=1))
    size = f"{out}: {sizes}, {'a recurrent network, ' if tables.recurrent else ''}{out.stat().st_size:,} bytes"
    if out.suffix == ".arpa":
        return size
    return size + (WITHOUT if tables.pronunciations is None else ", with pronunciations")


def _pronunciations(words: Sequence[str]) -> list[bytes] | None:
    """Those of each word; None where espeak-ng is not installed."""
    if find_spec("espeakng_loader") is None:
        return None
    found = pronunciations(words[len(SPECIAL) :])
    return [found.get(word, b"") for word in words]


class Exclusion:
    """Drops sentences that have eight words in a row with one of ``sentences``, or are one of them."""

    def __init__(self, sentences: Iterable[str]) -> None:
        self._whole, self._parts = set(), set()
        for sentence in filter(None, map(normalize, sentences)):
            self._whole.add(sentence)
            self._parts.update(_shared(sentence))
        self._dropped: dict[Path, list[int]] = {}

    def drops(self, sentence: str, path: Path, number: int) -> bool:
        if not self._whole:
            return False
        if sentence not in self._whole and self._parts.isdisjoint(_shared(sentence)):
            return False
        self._dropped.setdefault(path, []).append(number)
        return True

    def report(self) -> list[str]:
        """A line for each text: how many were dropped and where, so that a book they come from can be found."""
        lines = []
        for path, numbers in self._dropped.items():
            shown = ", ".join(map(str, numbers[:20])) + (" …" if len(numbers) > 20 else "")
            lines.append(f"{path}: {len(numbers)} lines left out, which are in an excluded set: {shown}")
        return lines


def _shared(sentence: str) -> Iterator[tuple[str, ...]]:
    words = sentence.split()
    return zip(*(words[i:] for i in range(SHARED)), strict=False)


def _sentences(name: str) -> list[str]:
    path = Path(name)
    if path.is_file() and path.suffix != ".jsonl":
        return list(_lines(path))
    from velocity.evaluation.testset import load_test_set

    return [utterance.text for utterance in load_test_set(name)[1]]


def _normalised(texts: Sequence[Path], filters: Exclusion) -> Iterator[str]:
    total = sum(path.stat().st_size for path in texts if path.is_file())
    with Progress("read", total) as progress:
        for path in texts:
            for number, line in enumerate(_lines(path, progress), start=1):
                sentence = normalize(line)
                if sentence and not filters.drops(sentence, path, number):
                    yield sentence


def _lines(path: Path, progress: Progress | None = None) -> Iterator[str]:
    try:
        with open(path, "rb") as raw, PACKED.get(path.suffix, nullcontext)(raw) as file:
            done = 0
            for number, line in enumerate(file):
                yield line.decode("utf-8-sig" if number == 0 else "utf-8")
                if progress is not None and number % 1000 == 0:
                    progress.advance(raw.tell() - done)
                    done = raw.tell()
            if progress is not None:
                progress.advance(path.stat().st_size - done)
    except (lzma.LZMAError, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise VelocityError(f"{path}: damaged ({error})") from error
    except OSError as error:
        raise VelocityError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise VelocityError(f"{path}: not UTF-8 text") from error


WEIGHTS = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0, 1.2)
BONUSES = (-1.0, 0.0, 0.5, 1.0, 2.0)


def tune(
    model: VelocityASR,
    test_sets: Sequence[str],
    only: str,
    every: int,
    weights: Sequence[float],
    bonuses: Sequence[float],
) -> list[dict[str, float]]:
    """Rows of ``weight``, ``word_bonus``, ``wer`` (the mean over the test sets) and each set's error rate, best first;
    the row with weight 0 is the best path.

    First all weights with the bonus in the middle, then all bonuses with the best weight and its neighbours.
    """
    from velocity.evaluation.testset import load_test_set
    from velocity.evaluation.wer import score, summarize

    try:
        wanted = re.compile(only)
    except re.error as error:
        raise VelocityError(f"--only {only!r}: not a valid regular expression ({error})") from error

    def posteriors(utterance: Utterance) -> tuple[str, np.ndarray, np.ndarray | None]:
        samples = utterance.samples()
        phones = model.phone_log_probs(samples) if model.reads_phones else None
        return utterance.text, model.log_probs(samples), phones

    sets = {}
    for name in test_sets:
        title, utterances = load_test_set(name)
        chosen = [u for u in utterances if wanted.search(u.id)][::every]
        if chosen:
            sets.setdefault(title, []).extend(map(posteriors, track(chosen, title, len(chosen))))
    if not sets:
        raise VelocityError(f"{', '.join(test_sets)}: no utterance whose id matches {only!r}")

    def row(weight: float, bonus: float) -> dict[str, float]:
        decoder = model.new_decoder(lm_weight=weight, word_bonus=bonus) if weight else best_path
        rates = {}
        for title, spoken in sets.items():
            found = [
                decoder.decode_phones(phones, words=False)
                if decoder.reads_phones and phones is not None
                else decoder.decode(letters, words=False)
                for _, letters, phones in spoken
            ]
            texts = [hypotheses[0].text for hypotheses in found]
            rates[title] = summarize(score([text for text, _, _ in spoken], texts))["wer"]
        return {"weight": weight, "word_bonus": bonus, "wer": round(float(np.mean(list(rates.values()))), 4), **rates}

    from velocity.recognition.decoding.decoder import Decoder

    best_path = Decoder(model.tokenizer, model.config["frame_seconds"])
    middle = sorted(bonuses)[len(bonuses) // 2]
    rows = [row(0.0, 0.0)]
    rows += [row(weight, middle) for weight in track(weights, "weights", len(weights))]
    near = sorted(weights)
    place = near.index(min(rows[1:], key=lambda each: each["wer"])["weight"])
    grid = [(w, b) for w in near[max(0, place - 1) : place + 2] for b in bonuses if b != middle]
    rows += [row(*pair) for pair in track(grid, "word bonuses", len(grid))]
    return sorted(rows, key=lambda each: each["wer"])


def name_beside(model: VelocityASR, lm: Path | None) -> str:
    """The name by which the model's config.json can refer to ``lm``; None: to the one that it has.

    Raises VelocityError when the file of that name, in the model's folder or else the package's, is another one.
    """
    from velocity.recognition.language_model.choice import SHIPPED

    if lm is None:
        return model.config["language_model"]["file"]
    found = next((path for folder in (model.folder, SHIPPED) if (path := folder / lm.name).is_file()), None)
    if found is None or found.resolve() != lm.resolve():
        raise VelocityError(f"{lm}: copy it to {model.folder} first: a model names a language model beside it")
    return lm.name


def write_weights(model: VelocityASR, lm: Path | None, best: dict[str, float]) -> str:
    """Name the language model and its weights in the model's config.json; return a line that says so.

    Raises VelocityError as ``name_beside`` does.
    """
    name, path = name_beside(model, lm), model.folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["language_model"] = {"file": name, "weight": best["weight"], "word_bonus": best["word_bonus"]}
    write_json(path, config)
    return f"{path}: {name} with weight {best['weight']:g} and word bonus {best['word_bonus']:g}"


def as_text(rows: Sequence[dict[str, float]]) -> str:
    """The rows as a table."""
    names = list(rows[0])[3:]
    head = f"{'weight':>6}  {'bonus':>5}  {'mean WER':>8}" + "".join(f"  {name:>12}" for name in names)
    lines = [head]
    for row in rows:
        rates = "".join(f"  {100 * row[name]:>10.1f} %" for name in names)
        note = "  best path" if row["weight"] == 0 else ""
        lines.append(f"{row['weight']:>6g}  {row['word_bonus']:>5g}  {100 * row['wer']:>6.1f} %{rates}{note}")
    return "\n".join(lines)
