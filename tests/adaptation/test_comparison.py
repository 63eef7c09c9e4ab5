"""Which model recognises what, before the judgement."""

from pathlib import Path

import pytest

from velocity.adaptation import comparison
from velocity.adaptation.comparison import Comparison
from velocity.adaptation.judgement import GENERAL, OWN
from velocity.evaluation.testset import Utterance

BASE, MODEL, MEMBERS = Path("base"), Path("all"), [Path("fold-1"), Path("fold-2")]


class Recogniser:
    """Its hypotheses name the model and the utterance."""

    runs: list[str] = []  # noqa: RUF012

    def __init__(self, folder: Path, greedy: bool) -> None:
        assert not greedy
        self.folder = folder

    def __enter__(self) -> "Recogniser":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def transcribe(self, utterances: list[Utterance], title: str) -> list[str]:
        self.runs.append(title)
        return [f"{self.folder} {utterance.id}" for utterance in utterances]


@pytest.fixture(autouse=True)
def recogniser(monkeypatch):
    monkeypatch.setattr(comparison, "IsolatedRecogniser", Recogniser)
    monkeypatch.setattr(Recogniser, "runs", [])


def utterances(*names: str) -> list[Utterance]:
    return [Utterance(name, Path(f"{name}.wav"), name) for name in names]


def test_what_was_held_out_of_a_fold_is_recognised_by_the_model_of_that_fold():
    own, general = [utterances("a", "b"), utterances("c")], utterances("x")
    found = Comparison(BASE, own, general).hypotheses(MODEL, MEMBERS)
    assert list(found) == [OWN, GENERAL]
    assert list(found[OWN].references) == ["a", "b", "c"]
    assert found[OWN].candidate == ["fold-1 a", "fold-1 b", "fold-2 c"]
    assert found[OWN].champion == ["base a", "base b", "base c"]
    assert (found[GENERAL].champion, found[GENERAL].candidate) == (["base x"], ["all x"])


def test_without_speech_of_ones_own_general_speech_judges_alone():
    assert list(Comparison(BASE, [], utterances("x")).hypotheses(MODEL, [])) == [GENERAL]


def test_the_first_that_keeps_general_speech_is_chosen_and_nothing_is_recognised_twice(monkeypatch):
    made = []

    def candidates():
        for share in (1.0, 0.5, 0.25):
            made.append(share)
            yield share, Path(f"share-{share:g}")

    monkeypatch.setattr(comparison, "keeps", lambda both: both.candidate == ["share-0.5 x"])
    compared = Comparison(BASE, [], utterances("x"))
    assert compared.first_that_keeps(candidates()) == (0.5, Path("share-0.5"))
    assert made == [1.0, 0.5]
    compared.hypotheses(Path("share-0.5"), [])
    assert len(Recogniser.runs) == 3, "the base and two candidates, once each"
    monkeypatch.setattr(comparison, "keeps", lambda both: False)
    assert compared.first_that_keeps(candidates()) == (0.25, Path("share-0.25"))
