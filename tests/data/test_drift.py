"""Drift: hand-computed indices, silence when nothing has changed, and planted changes found under their name."""

import json
from collections import Counter
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from velocity.cli import app
from velocity.config.data import Drift
from velocity.config.reader import default_section
from velocity.data.drift import compare, describe, distributions, load_accepted, new_speakers, psi, refuse_drift
from velocity.data.tables import Measurements
from velocity.errors import VelocityError

WORDS = [f"word{n}" for n in range(300)]


def limits(**changes):
    return default_section("validate.drift", Drift, **changes)


LIMITS = limits()


def delivery(seed, count=2000, slower=1.0, louder=0.0, words=WORDS, speakers=50, rate=16_000, pace=1.0):
    """A made-up corpus: durations are log-normal, levels normal, words follow Zipf's law."""
    random = np.random.default_rng(seed)
    seconds = slower * random.lognormal(1.0, 0.4, count)
    audio = pd.DataFrame({"seconds": seconds, "level_db": random.normal(-25 + louder, 4, count), "rate": rate})
    utterances = pd.DataFrame({"characters_per_second": pace * random.normal(14, 2, count)})
    share = 1 / np.arange(1, len(words) + 1)
    drawn = random.choice(words, 8 * count, p=share / share.sum())
    voices = [("mine", f"speaker {n}", "") for n in range(speakers)]
    whole = {"audio": slice(0, count), "utterances": slice(0, count)}
    return Measurements(audio, utterances, pd.DataFrame(), voices, {"mine": Counter(drawn.tolist())}, {"mine": whole})


def accepted(measured):
    return json.loads(json.dumps(distributions(measured)))


def drifted(found, before, limits=LIMITS):
    return {change.what for change in compare(found, before, limits) if change.drifted}


def test_the_index_of_a_hand_computed_case():
    # With half a count in each bin: p = (10.5, 30.5) / 41, q = (20.5, 20.5) / 41.
    p, q = np.array([10.5, 30.5]) / 41, np.array([0.5, 0.5])
    assert psi([10, 30], [20, 20]) == pytest.approx(((q - p) * np.log(q / p)).sum())
    assert psi([10, 30], [20, 20]) == pytest.approx(0.2601, abs=1e-4)
    assert psi([10, 30], [10, 30]) == 0.0


def test_the_divergence_of_a_hand_computed_case():
    # a, a, a, b against a, b, b, b: 1 bit of the mixture (1/2, 1/2) less H(1/4) = 0.8113.
    before, found = delivery(1, 10), delivery(1, 10)
    before.words["mine"], found.words["mine"] = Counter(10 * "aaab"), Counter(10 * "abbb")
    values = {change.what: change.value for change in compare(found, accepted(before), LIMITS)}
    assert values["vocabulary"] == pytest.approx(1 - 0.8113, abs=1e-4)
    found.words["mine"] = Counter(10 * "aacd")
    values = {change.what: change.value for change in compare(found, accepted(before), LIMITS)}
    assert values["new_words"] == 0.5
    before.words["mine"] = Counter(10 * "a" + "bcde")  # four of fourteen once: as much is expected to be new
    values = {change.what: change.value for change in compare(found, accepted(before), LIMITS)}
    assert values["new_words"] == 0.0


@pytest.mark.parametrize("count", [40, 300, 3000])
def test_another_draw_of_the_same_speech_is_no_drift(count):
    before = accepted(delivery(0, count))
    for seed in range(1, 9):
        assert drifted(delivery(seed, count), before) == set()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"slower": 1.6}, {"seconds"}),
        ({"louder": 6}, {"level_db"}),
        ({"pace": 1.3}, {"characters_per_second"}),
        ({"rate": 8000}, {"rate"}),
        ({"words": [*WORDS[:60], *(f"novel{n}" for n in range(240))]}, {"vocabulary", "new_words"}),
        ({"words": WORDS[::-1]}, {"vocabulary"}),
    ],
)
def test_a_planted_drift_is_found_and_named(change, named):
    before = accepted(delivery(0))
    found = delivery(1, **change)
    assert drifted(found, before) == named
    figures = describe(compare(found, before, LIMITS))["mine"]
    assert figures["drifted"] == len(named)
    with pytest.raises(
        VelocityError, match=f"drift from the accepted version: mine {min(named, key=list(figures).index)} "
    ):
        refuse_drift(compare(found, before, LIMITS), limits(severity="refuse"))
    refuse_drift(compare(found, before, LIMITS), LIMITS)


def test_new_speakers_are_told_and_may_refuse():
    before = accepted(delivery(0, speakers=40))
    changes = {
        change.what: change for change in compare(delivery(1, speakers=50), before, limits(max_new_speakers=0.1))
    }
    assert changes["new_speakers"].value == pytest.approx(0.2)
    assert changes["new_speakers"].drifted


@settings(max_examples=20)
@given(st.integers(0, 3000), st.integers(1, 3000), st.integers(0, 3000))
def test_the_sketch_of_the_speakers_is_close_to_the_truth(gone, stay, come):
    hashes = [sha256(f"{n}".encode()).hexdigest()[:12] for n in range(gone + stay + come)]
    before, after = sorted(hashes[: gone + stay]), hashes[gone:]
    sketch = {"total": len(before), "hashes": before[:1000]}
    share = new_speakers(sketch, after)
    exact = come / (stay + come)
    # Few of the stayers may be in the sketch when most are gone; four standard deviations of what is compared.
    compared = max(1, len([value for value in after if value <= sketch["hashes"][-1]]))
    assert share == pytest.approx(exact, abs=1e-9 if len(before) <= 1000 else 4 * 0.5 / compared**0.5 + 1 / compared)


def test_an_accepted_version_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(VelocityError, match=r"accepted\.json: cannot be read"):
        load_accepted(tmp_path / "accepted.json")


def test_accept_takes_what_passed_and_refuses_when_nothing_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed = CliRunner().invoke(app, ["accept"])
    assert isinstance(failed.exception, VelocityError)
    assert "no validation has passed here" in str(failed.exception)
    passed = distributions(delivery(0, 50))
    (tmp_path / "data/validated").mkdir(parents=True)
    (tmp_path / "data/validated/distributions.json").write_text(json.dumps(passed))
    assert "mine: 50 recordings" in CliRunner().invoke(app, ["accept"]).output
    assert load_accepted("data/accepted.json") == passed
    assert drifted(delivery(0, 50), passed) == set()
