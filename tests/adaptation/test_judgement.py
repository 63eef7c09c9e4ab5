"""When an adapted model may be written."""

from pathlib import Path

import pytest

from velocity.adaptation.judgement import GENERAL, OWN, judge_adaptation, keeps, rates, table
from velocity.evaluation.testset import Utterance
from velocity.gate import Hypotheses, Verdict

WORDS = "one two three four five"


def heard(base: int, adapted: int, utterances: int = 40) -> Hypotheses:
    """Both models get the last word of so many utterances wrong."""
    references = [Utterance(str(number), Path("a.wav"), WORDS) for number in range(utterances)]
    wrong = WORDS.replace("five", "six")
    both = ([wrong] * errors + [WORDS] * (utterances - errors) for errors in (base, adapted))
    return Hypotheses(references, *both)


@pytest.mark.parametrize(
    ("own", "general", "verdict", "reason"),
    [
        ((20, 2), (5, 5), "pass", "better by 9.0 points, more than chance explains"),
        ((20, 2), (5, 7), "pass", "not more than 1 point worse"),
        ((20, 2), (5, 8), "regression", "worse by 1.5 points: it would forget how others speak"),
        ((20, 19), (5, 5), "regression", "better by 0.5 points, which may be chance, in 40 recordings"),
        ((20, 20), (5, 5), "regression", "no better, in 40 recordings"),
        ((2, 20), (5, 0), "regression", "no better, in 40 recordings"),
    ],
)
def test_it_must_be_better_for_the_speaker_and_hardly_worse_for_others(own, general, verdict, reason):
    hypotheses = {OWN: heard(*own), GENERAL: heard(*general)}
    judgement = judge_adaptation("base", "mine", hypotheses, 200)
    assert judgement.verdict == verdict
    assert judgement.verdict.status == (0 if verdict == "pass" else 1)
    assert judgement.better == (verdict == "pass")
    assert keeps(hypotheses[GENERAL]) == (judgement.rows[1].verdict is Verdict.PASS)
    lines = list(table(judgement, rates(hypotheses, 200)))
    assert any(reason in line for line in lines)
    assert lines[1].startswith(f"{OWN}  {own[0] / 2:.1f} % (")
    assert judgement.to_json()["rows"][0]["candidate"] == pytest.approx(own[1] / 2)
