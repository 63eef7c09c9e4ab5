"""Splits that share no speaker, drawn so that nobody moves when speakers are added.

Only a corpus with fewer speakers than splits shares them: it is split by utterances.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path

from velocity.config.corpora import Corpus, SpeakerSelection
from velocity.data.manifests import SUPERVISIONS, read_lines
from velocity.errors import VelocityError

SPLITS = ("train", "validation", "test")  # whoever is in two of them stays in the later one
UNUSED_PART, OTHER_SPLIT = "unused-part", "speaker-of-another-split"
BY_UTTERANCE = "by-utterance"  # in place of a speaker's split

Speakers = Mapping[str, Iterable[str]]  # speaker → the official parts of the corpus that they speak in, "" for none
Utterance = tuple[str, str, str]  # id, speaker, part


class Splits:
    """Where each utterance of some labelled corpora goes.

    ``test`` and ``validation`` of a corpus are a share of its speakers, an expression on their names (both as in
    ``split_speakers``) or a list of its official parts; ``train`` lists the parts to draw from and to train on, all
    others when it is empty. Who speaks in a part that is listed for testing or validation is drawn for nothing else.
    A speaker whose name has a colon ("librivox:1089") is one person wherever the name occurs; others are their corpus'.
    Where ``split_speakers`` has too few speakers, their utterances are drawn in their place.
    """

    def __init__(
        self,
        corpora: Mapping[str, Corpus],
        speakers: Mapping[str, Speakers],
        seed: int,
        utterances: Callable[[str], Iterable[Utterance]] = lambda corpus: (),
    ) -> None:
        """``speakers`` by corpus; ``utterances`` of a corpus are read only if it is split by them.

        Raises VelocityError for a part nobody speaks in, as ``split_speakers`` does, and when the utterances are too
        few as well.
        """
        self._official = {name: _official_parts(name, corpus, speakers[name]) for name, corpus in corpora.items()}
        self._train = {name: set(getattr(corpus, "train", ())) for name, corpus in corpora.items()}
        self._drawn: dict[str, dict[str, str]] = {}  # corpus → speaker → split
        self._split: dict[str, str] = {}  # person → split, over all corpora
        for name in corpora:
            for speaker, parts in speakers[name].items():
                for part in parts:
                    if file := self._official[name].get(part):
                        self._claim(_person(name, speaker), file.partition("-")[0])
        self._utterances: dict[str, dict[str, str]] = {}  # corpus → utterance → split, if it is not train
        for name, corpus in corpora.items():
            free = [
                speaker
                for speaker, parts in speakers[name].items()
                if _person(name, speaker) not in self._split and any(self._is_open(name, part) for part in parts)
            ]
            shares = [
                0.0 if isinstance(selection, tuple) else selection for selection in (corpus.test, corpus.validation)
            ]
            self._drawn[name] = split_speakers(name, free, *shares, seed)
            if few := {speaker for speaker, split in self._drawn[name].items() if split == BY_UTTERANCE}:
                spoken = (
                    utterance
                    for utterance, speaker, part in utterances(name)
                    if speaker in few and self._is_open(name, part)
                )
                self._utterances[name] = _split_utterances(name, spoken, *shares, seed)
        for name, drawn in self._drawn.items():
            for speaker, split in drawn.items():
                if split != BY_UTTERANCE:
                    self._claim(_person(name, speaker), split)

    @classmethod
    def read(cls, corpora: Mapping[str, Corpus], manifests: str | Path, seed: int) -> Splits:
        """The labelled ones of ``corpora``, their speakers as the manifests ``manifests/<corpus>`` have them."""
        labelled = {name: corpus for name, corpus in sorted(corpora.items()) if corpus.labelled}
        speakers = {name: read_speakers(Path(manifests, name)) for name in labelled}
        return cls(labelled, speakers, seed, lambda name: _read_utterances(Path(manifests, name)))

    @property
    def by_utterance(self) -> dict[str, int]:
        """Corpora that are split by utterances → the speakers that their splits share."""
        return {name: list(self._drawn[name].values()).count(BY_UTTERANCE) for name in self._utterances}

    def of(self, corpus: str, speaker: str, part: str = "", utterance: str = "") -> str:
        """``train``, ``validation``, ``test-<corpus>`` or, of an official part, ``test-<corpus>-<part less "test-">``.

        Or why it is left out: UNUSED_PART, or OTHER_SPLIT when the speaker is kept for another one.
        """
        file = self._official[corpus].get(part)
        if file is None and not self._is_open(corpus, part):
            return UNUSED_PART
        split = file.partition("-")[0] if file else self._drawn[corpus].get(speaker)
        elsewhere = self._split.get(_person(corpus, speaker), "train")
        if split == BY_UTTERANCE:
            split = self._utterances[corpus].get(utterance, "train")
            if elsewhere == "train":  # as here: there is nothing to keep apart
                elsewhere = split
        if split != elsewhere:
            return OTHER_SPLIT
        return file or (f"test-{corpus}" if split == "test" else split)

    def may_train(self, corpus: str, speaker: str) -> bool:
        """Whether unlabelled speech of this speaker may be trained on: nobody is tested on that voice."""
        return self._split.get(_person(corpus, speaker), "train") == "train"

    def _is_open(self, corpus: str, part: str) -> bool:
        return part not in self._official[corpus] and (not self._train[corpus] or part in self._train[corpus])

    def _claim(self, person: str, split: str) -> None:
        self._split[person] = max(split, self._split.get(person, split), key=SPLITS.index)


def read_speakers(folder: str | Path) -> dict[str, set[str]]:
    """Speaker → official parts, of the supervisions of a corpus, in one pass. Raises VelocityError as readers do."""
    speakers: dict[str, set[str]] = {}
    for line in read_lines(Path(folder, SUPERVISIONS)):
        speakers.setdefault(line["speaker"], set()).add(line["custom"].get("part", ""))
    return speakers


def _read_utterances(folder: Path) -> Iterator[Utterance]:
    for line in read_lines(folder / SUPERVISIONS):
        yield line["id"], line["speaker"], line["custom"].get("part", "")


def _official_parts(name: str, corpus: Corpus, speakers: Speakers) -> dict[str, str]:
    """Part → the split of a listed one, by the name of its file."""
    known = {part for parts in speakers.values() for part in parts}
    official = {}
    for split in ("train", "validation", "test"):
        listed = getattr(corpus, split, ())
        for part in listed if isinstance(listed, tuple) else ():
            if part not in known:
                there = ", ".join(sorted(known - {""})) or "none"
                raise VelocityError(f"corpora.{name}.{split}: {part!r} is no part of this corpus; it has {there}")
            if split != "train":
                official[part] = f"test-{name}-{part.removeprefix('test-')}" if split == "test" else split
    return official


def _person(corpus: str, speaker: str) -> str:
    return speaker if ":" in speaker else f"{corpus}/{speaker}"


def split_speakers(
    corpus: str, speakers: Iterable[str], test: SpeakerSelection, validation: SpeakerSelection, seed: int
) -> dict[str, str]:
    """Speaker → ``train``, ``validation`` or ``test``; BY_UTTERANCE where there are fewer speakers than splits.

    A share takes the speakers whose SHA-256 of "seed/corpus/speaker" falls below it (test first, validation next to
    it), so that a speaker stays where it is when others come or go. A split that would get nobody takes the speaker
    whose hash is nearest, from a split that has another one. A text is a regular expression searched for in the
    speaker's name; test goes before validation.
    Raises VelocityError for a split that ends up empty though asked for.
    """
    in_test = _Selection(f"corpora.{corpus}.test", test)
    in_validation = _Selection(f"corpora.{corpus}.validation", validation)
    ranges = _ranges(in_test.share or 0.0, in_validation.share or 0.0)
    splits, places = {}, {}
    for speaker in sorted(set(speakers)):
        place = _place(f"{seed}/{_person(corpus, speaker)}")
        drawn = _at(place, ranges)
        if in_test.names(speaker):
            splits[speaker] = "test"
        elif in_validation.names(speaker):
            splits[speaker] = drawn if drawn == "test" else "validation"
        else:
            splits[speaker], places[speaker] = drawn, place
    if places and not _fill(splits, places, ranges):
        splits |= dict.fromkeys(places, BY_UTTERANCE)
    filled = set(splits.values())
    for split, selection in (("test", in_test), ("validation", in_validation)):
        if not selection.nobody and split not in filled and not (selection.share and BY_UTTERANCE in filled):
            advice = f"change {selection.key} (0: no {split} set of this corpus) or add speakers"
            raise VelocityError(f"corpus {corpus}: its {split} split is empty ({len(splits)} speakers); {advice}")
    return splits


def _split_utterances(
    corpus: str, utterances: Iterable[str], test: SpeakerSelection, validation: SpeakerSelection, seed: int
) -> dict[str, str]:
    """Utterance → ``validation`` or ``test``, drawn by shares as speakers are; the others are for training."""
    ranges = _ranges(*(0.0 if isinstance(selection, str) else float(selection) for selection in (test, validation)))
    places = {utterance: _place(f"{seed}/{utterance}") for utterance in sorted(utterances)}
    splits = {utterance: _at(place, ranges) for utterance, place in places.items()}
    if not _fill(splits, places, ranges):
        few = f"{len(splits)} utterances of too few speakers for {' and '.join(ranges)}"
        raise VelocityError(f"corpus {corpus}: {few}; set corpora.{corpus}.test or .validation to 0, or add speech")
    return {utterance: split for utterance, split in splits.items() if split != "train"}


Ranges = Mapping[str, tuple[float, float]]  # split → the hashes that it takes


def _ranges(test: float, validation: float) -> Ranges:
    """Of the splits that are to get somebody."""
    ends = {"test": (0.0, test), "validation": (test, test + validation), "train": (test + validation, 1.0)}
    return {split: (start, end) for split, (start, end) in ends.items() if start < end}


def _at(place: float, ranges: Ranges) -> str:
    return next((split for split, (start, end) in ranges.items() if start <= place < end), "train")


def _fill(splits: dict[str, str], places: Mapping[str, float], ranges: Ranges) -> bool:
    """Put somebody of ``places`` into each split that has nobody; False when there are too few of them."""
    for split, (start, end) in ranges.items():
        counts = Counter(splits.values())
        if not counts[split]:
            spare = [name for name in places if counts[splits[name]] > 1]
            if not spare:
                return False
            distance = {name: max(start - places[name], places[name] - end) for name in spare}
            splits[min(spare, key=lambda name: (distance[name], name))] = split
    return True


class _Selection:
    def __init__(self, key: str, selection: float | str) -> None:
        self.key = key
        self.share = self.pattern = None
        if isinstance(selection, str):
            self.pattern = re.compile(selection)
        else:
            self.share = float(selection)
        self.nobody = self.share == 0

    def names(self, speaker: str) -> bool:
        return self.pattern is not None and self.pattern.search(speaker) is not None


def _place(key: str) -> float:
    """Uniform in [0, 1), by the first 53 bits of the hash."""
    return (int.from_bytes(sha256(key.encode()).digest()[:8], "big") >> 11) / 2**53
