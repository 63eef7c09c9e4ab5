"""Error reports: figures against counts made by hand, pages read back by a parser, texts that try to be HTML."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import run
from tests.tone_model import write_model, write_speech
from velocity.evaluation.breakdown import by_confidence, by_length, by_speaker
from velocity.evaluation.error_report import error_report, write_error_report
from velocity.evaluation.hypotheses import Recognition
from velocity.evaluation.page import page
from velocity.evaluation.testset import Utterance
from velocity.evaluation.wer import score

HOSTILE = [
    "<script>alert(1)</script>", "</span></li></ol><img src=x onerror=alert(1)>", '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)", "</style></title><svg/onload=alert(1)>", "&lt;b&gt; &amp; &#60;",
]  # fmt: skip
WORDS = st.lists(st.sampled_from(["a", "bee", "sea", *HOSTILE]), max_size=6).map(" ".join)


def recognition(hypotheses: list[str], confidences: list[list[float]] | None = None):
    given = confidences or [[] for _ in hypotheses]
    return Recognition(hypotheses, [1.5] * len(hypotheses), given, seconds=1.0, utterances=[])


def utterances(references: list[str], speakers: list[str | None] | None = None) -> list[Utterance]:
    pairs = enumerate(zip(references, speakers or [None] * len(references), strict=True))
    return [Utterance(f"u{n}", Path("a.wav"), text, speaker=speaker) for n, (text, speaker) in pairs]


class Reader(HTMLParser):
    """What a browser makes of the page: its tags with attributes, and the words of the two rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {"reference": [], "hypothesis": []}
        self.script = ""
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.tags.append((tag, named))
        self._inside = (named.get("class") or "").split(" ")[0] or tag
        if self._inside == "words":
            self.rows["reference"].append([])
            self.rows["hypothesis"].append([])
        elif self._inside in self.rows:
            self.rows[self._inside][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.rows:
            self.rows[self._inside][-1][-1] += data
        elif self._inside == "script":
            self.script += data


def read(references: list[str], hypotheses: list[str], **others: list) -> Reader:
    report = error_report(utterances(references), recognition(hypotheses, **others))
    return Reader(page(report, "a <set>", 100, Path()))


def test_the_worst_come_first_and_confusions_are_counted(tmp_path: Path) -> None:
    references = ["turn it on", "stop", "play <loud> music now", "fine"]
    hypotheses = ["turn in on", "", "play <loud> music right now", "fine"]
    report = error_report(utterances(references), recognition(hypotheses))
    assert [entry["id"] for entry in report["errors"]] == ["u1", "u0", "u2"]
    assert report["substitutions"] == [["it", "in", 1]]
    assert report["deletions"] == [["stop", 1]]
    assert report["insertions"] == [["right", 1]]
    assert report["overall"]["wer"] == pytest.approx(3 / 9, abs=1e-6)
    write_error_report(report, "a set", tmp_path / "errors", worst=2)
    assert json.loads((tmp_path / "errors.json").read_text()) == json.loads(json.dumps(report))
    shown = Reader((tmp_path / "errors.html").read_text()).rows
    assert shown["reference"] == [["stop"], ["turn", "it", "on"]]  # the third worst is left to the JSON
    assert shown["hypothesis"] == [[""], ["turn", "in", "on"]]


@settings(max_examples=25)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_columns_hold_both_texts_word_for_word_and_only_that(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = (list(texts) for texts in zip(("a", "b"), *pairs, strict=True))
    shown = read(references, hypotheses)
    wrong = sorted(
        pair for pair in zip(references, hypotheses, strict=True) if score(["x " + pair[0]], ["x " + pair[1]]).wer
    )
    rows = zip(shown.rows["reference"], shown.rows["hypothesis"], strict=True)
    assert sorted((" ".join(filter(None, a)), " ".join(filter(None, b))) for a, b in rows) == [
        (" ".join(a.split()), " ".join(b.split())) for a, b in wrong
    ]
    assert all(len(a) == len(b) for a, b in zip(shown.rows["reference"], shown.rows["hypothesis"], strict=True))
    assert {tag for tag, _ in shown.tags}.isdisjoint({"img", "b"})
    assert not any(name.startswith("on") or name == "autofocus" for _, named in shown.tags for name in named)
    assert [tag for tag, _ in shown.tags].count("script") == 1


def test_names_and_paths_are_texts_too(tmp_path: Path) -> None:
    utterance = Utterance(HOSTILE[0], Path("data") / HOSTILE[2] / "a b#1?.wav", "one", 2.0, 1.0, speaker=HOSTILE[1])
    report = error_report([utterance], recognition(["two"]))
    text = page(report, HOSTILE[4], 1, tmp_path / "reports")
    shown = Reader(text)
    assert [tag for tag, _ in shown.tags].count("script") == 1
    assert not any(name.startswith("on") for _, named in shown.tags for name in named)
    source = next(named["src"] for tag, named in shown.tags if tag == "audio")
    link, _, stretch = source.partition("#")
    assert (tmp_path / "reports" / unquote(link)).resolve() == utterance.path.resolve()
    assert stretch == "t=2,3.500"


def test_the_page_needs_nothing_and_runs_its_own_script_only() -> None:
    shown = read(["a b"], ["a c"], confidences=[[0.9, 0.2]])
    policy = next(named["content"] for tag, named in shown.tags if named.get("http-equiv"))
    assert "default-src 'none'" in policy
    assert f"'sha256-{b64encode(sha256(shown.script.encode()).digest()).decode()}'" in policy
    assert all("src" not in named and "href" not in named for tag, named in shown.tags if tag != "audio")
    unsure = [named["title"] for _, named in shown.tags if "unsure" in (named.get("class") or "")]
    assert unsure == ["confidence 0.20"]


def test_speakers_worst_first_and_every_length_in_one_class() -> None:
    references, hypotheses = ["a b", "c d", "e f", "g", ""], ["a x", "c d", "e", "g", "h"]
    figures = by_speaker(utterances(references, ["ann", "bob", "ann", None, "eve"]), score(references, hypotheses))
    assert [(name, row["wer"], row["utterances"], row["words"]) for name, row in figures.items()] == [
        ("ann", 0.5, 2, 4),
        ("bob", 0.0, 1, 2),
    ]
    rows = by_length([0.4, 1.0, 1.99, 45.0, 30.0], score(["a"] * 5, ["a", "b", "a", "b", "b"]))
    found = [(row["seconds"], row["utterances"], row["wer"]) for row in rows]
    assert found == [([0, 1], 1, 0.0), ([1, 2], 2, 0.5), ([30, None], 2, 1.0)]


def test_confidence_is_compared_with_what_is_correct() -> None:
    rows = by_confidence(["a b c", "d", "e"], ["a x c", "d", "e e"], [[1.0, 0.3, 0.96], [0.97], [0.5]])
    assert rows == [  # the last utterance has too few values to tell which word they belong to
        {"confidence": [0.0, 0.5], "words": 1, "correct": 0.0},
        {"confidence": [0.95, 0.99], "words": 2, "correct": 1.0},
        {"confidence": [0.99, 1.0], "words": 1, "correct": 1.0},
    ]


def test_the_command_writes_where_the_errors_are(tmp_path: Path, capsys) -> None:
    model = write_model(tmp_path / "model")
    for speaker, name, text in ((7, "7-1-0001", "hello world"), (7, "7-1-0002", "good night"), (8, "8-1-0001", "yes")):
        write_speech(tmp_path / f"set/{speaker}/1/{name}.flac", text, model)
    (tmp_path / "set/7/1/7-1.trans.txt").write_text("7-1-0001 HELLO WORLD\n7-1-0002 good light\n")
    (tmp_path / "set/8/1/8-1.trans.txt").write_text("8-1-0001 YES\n")

    options = ["evaluate", "--test-set", tmp_path / "set", "--model", model, "--jobs", 2]
    status, out, _ = run(capsys, *options, "--report", tmp_path / "r", "--json")
    result = json.loads(out)
    assert (status, result["wer"], result["wer_ci95"]) == (0, 0.2, [0.0, 0.5])
    assert (result["utterances"], result["words"], result["normalizer"]) == (3, 5, "velocity-english")
    assert {name: figures["wer"] for name, figures in result["speakers"].items()} == {"7": 0.25, "8": 0.0}
    assert [row["seconds"] for row in result["lengths"]] == [[0, 1], [1, 2]]
    assert result["errors"][0]["alignment"] == [["good", "good"], ["light", "night"]]
    assert sum(row["words"] for row in result["confidences"]) == 5
    shown = Reader((tmp_path / "r/set.html").read_text())
    assert shown.rows == {"reference": [["good", "light"]], "hypothesis": [["good", "night"]]}
    source = next(named["src"] for tag, named in shown.tags if tag == "audio").partition("#")[0]
    assert (tmp_path / "r" / unquote(source)).resolve() == (tmp_path / "set/7/1/7-1-0002.flac").resolve()
    _, text, _ = run(capsys, *options)
    assert re.search(r"^7 +25\.00 % .* 2$", text, re.MULTILINE)
    assert "  ref good light\n  hyp good night" in text
