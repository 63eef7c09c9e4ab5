"""The verdict follows from the facts alone, and never gets better when they get worse."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velocity.config.gate import Gate
from velocity.config.reader import default_section
from velocity.gate import Facts, Sizes, Verdict, judge
from velocity.gate.statistics import Difference, Ratio
from velocity.gate.table import markdown, plain

LIMITS = default_section("gate", Gate)
SIZES = {"champion": Sizes(1_000_000, 100_000_000), "candidate": Sizes(1_000_000, 100_000_000)}


def wer(points: float, half_width: float, utterances: int = 1000) -> Difference:
    """Of a candidate that is worse by ``points``, give or take ``half_width``."""
    interval = ((points - half_width) / 100, (points + half_width) / 100)
    return Difference(0.08, 0.08 + points / 100, interval, 0.04, utterances, 7 * utterances)


def facts(**changes) -> Facts:
    result = Facts("new", "old", SIZES, {"a-test": wer(0.0, 0.5)}, Ratio(0.002, 0.002, 1.0, (0.99, 1.01)), parity=[])
    return replace(result, **changes)


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (wer(0.0, 0.0), "pass"),
        (wer(-3.0, 1.0), "pass"),
        (wer(0.4, 0.2), "pass"),  # worse for certain, by less than is tolerated
        (wer(0.8, 0.9), "pass"),  # perhaps worse, but not by what must be ruled out
        (wer(0.8, 0.7), "regression"),
        (wer(2.0, 0.9), "regression"),
        (wer(1.0, 1.5), "could not judge"),
        (wer(0.0, 2.5), "could not judge"),
        (wer(2.0, 2.1), "could not judge"),
        (wer(0.0, 0.0, utterances=100), "could not judge"),
    ],
)
def test_word_error_rate(difference, verdict):
    judged = judge(facts(wer={"a-test": difference}), LIMITS)
    assert judged.verdict == verdict
    assert bool(judged.reasons) == (verdict != "pass")


def test_better_is_fewer_errors_on_some_test_set_not_by_chance_and_more_nowhere():
    as_good, fewer, perhaps, more = wer(0.0, 0.1), wer(-1.0, 0.9), wer(-1.0, 1.1), wer(2.0, 0.9)
    for result, better in (
        ({"a": perhaps, "b": as_good}, False),
        ({"a": as_good, "b": fewer}, True),
        ({"a": more, "b": fewer}, False),
    ):
        assert judge(facts(wer=result), LIMITS).better == better
    assert not judge(facts(wer={"a": fewer}, parity=["another word"]), LIMITS).better


@pytest.mark.parametrize(
    ("interval", "verdict"),
    [((0.98, 1.02), "pass"), ((1.05, 1.1), "pass"), ((1.08, 1.15), "could not judge"), ((1.25, 1.35), "regression")],
)
def test_speed(interval, verdict):
    judged = judge(facts(speed=Ratio(0.002, 0.0026, sum(interval) / 2, interval)), LIMITS)
    assert judged.verdict == verdict


def test_size_memory_and_parity_each_refuse():
    large = Sizes(6_000_000, 100_000_000)
    greedy = Sizes(1_000_000, 300_000_000)
    for change, reason in (
        ({"sizes": SIZES | {"candidate": large}}, "size of model.onnx: 6.00 MB exceeds 5"),
        ({"sizes": SIZES | {"candidate": greedy}}, "peak memory: 300.00 MB exceeds 200"),
        ({"parity": ["WER +0.50 points from PyTorch"]}, "parity with PyTorch: WER +0.50 points from PyTorch"),
    ):
        judged = judge(facts(**change), LIMITS)
        assert (judged.verdict, judged.reasons) == (Verdict.REGRESSION, [reason])


def test_one_regression_outweighs_what_is_unclear():
    result = {"a-test": wer(0.0, 3.0), "b-test": wer(3.0, 1.0), "c-test": wer(0.0, 0.1)}
    judged = judge(facts(wer=result), LIMITS)
    assert judged.verdict is Verdict.REGRESSION
    assert [row.verdict for row in judged.rows[:3]] == ["could not judge", "regression", "pass"]


def test_the_first_model_is_judged_alone():
    judged = judge(Facts("new", None, {"candidate": SIZES["candidate"]}), LIMITS)
    assert judged.verdict is Verdict.PASS
    assert judged.better, "there is none to be better than"
    assert [row.metric for row in judged.rows] == ["size of model.onnx", "peak memory"]
    assert "with no champion" in markdown(judged)


@given(st.booleans(), st.floats(-5, 5), st.floats(0, 4), st.floats(0, 5), st.integers(50, 5000))
def test_a_candidate_that_is_worse_or_slower_is_never_judged_better(slower, value, half_width, more, utterances):
    def badness(value: float) -> int:
        ratio = Ratio(1, 1, value, (value - half_width, value + half_width))
        error = {"a-test": wer(value, half_width, utterances)}
        verdict = judge(facts(speed=ratio) if slower else facts(wer=error), LIMITS).verdict
        return [Verdict.PASS, Verdict.UNCLEAR, Verdict.REGRESSION].index(verdict)

    assert badness(value) <= badness(value + more)


def test_what_is_written_is_what_was_judged():
    judged = judge(facts(wer={"a-test": wer(2.0, 0.9)}), LIMITS)
    table = markdown(judged)
    row = "| WER on a-test | 8.00 % | 10.00 % | +2.00 points (+1.10 to +2.90) | +0.5 points | **regression** |"
    assert row in table
    assert len({line.count("|") for line in table.splitlines()[2:]}) == 1
    result = json.loads(json.dumps(judged.to_json()))
    assert result["verdict"] == result["rows"][0]["verdict"] == "regression"
    assert result["reasons"] == judged.reasons
    assert list(plain(judged))[-1].endswith("REGRESSION: new is refused")
