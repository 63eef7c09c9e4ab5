"""Validation: clean speech passes, a planted fault is refused by the expectation meant for it, with the file named."""

import json

import numpy as np
import pytest
import soundfile

from velocity.config import Validation
from velocity.corpora.folder import read_folder
from velocity.data.validation import check_tables, measure_audio, measure_text, refuse_failures, summarise
from velocity.errors import VelocityError

RATE = 16_000


@pytest.fixture
def speech(tmp_path):
    """Four utterances of one second as floating-point WAV, and one of FLAC."""
    random = np.random.default_rng(2)
    lines = []
    for index in range(5):
        ending = ".flac" if index == 4 else ".wav"
        samples = random.normal(0, 0.05, RATE)
        soundfile.write(tmp_path / f"a-{index}{ending}", samples, RATE, "PCM_16" if index == 4 else "FLOAT")
        lines.append(f"a-{index} THIS IS SENTENCE {index}\n")
    (tmp_path / "a.trans.txt").write_text("".join(lines))
    return tmp_path


def judge(folder, limits=None, data_docs=None):
    recordings, supervisions = read_folder("mine", folder)
    tables = {"audio": measure_audio(recordings, 2), "utterances": measure_text(supervisions)}
    outcomes = check_tables(tables, limits or Validation(), data_docs)
    return tables, outcomes


def test_clean_speech_passes_and_its_figures_are_right(speech, tmp_path):
    samples = 0.5 * np.sin(2 * np.pi * 100 * np.arange(2 * RATE) / RATE) + 0.05
    samples[:320] = 1.0
    soundfile.write(speech / "a-0.wav", np.stack([samples, samples], axis=1), RATE, "FLOAT")
    tables, outcomes = judge(speech, data_docs=tmp_path / "docs")
    refuse_failures(outcomes, tables)
    assert all(outcome.success and not outcome.failed for outcome in outcomes)
    row = tables["audio"].set_index("id").loc["mine/a-0"]
    assert (row["rate"], row["channels"], row["seconds"], row["not_numbers"]) == (RATE, 2, 2.0, 0)
    assert row["clipped"] == pytest.approx(320 / (2 * RATE))
    assert row["dc_offset"] == pytest.approx(samples.mean(), abs=1e-6)
    assert row["level_db"] == pytest.approx(10 * np.log10(np.mean(samples**2)), abs=1e-4)
    pages = list((tmp_path / "docs").rglob("*.html"))
    assert any("index" in page.name for page in pages)
    assert any("audio is not silent" in page.read_text() for page in pages)


def test_the_summary_counts_and_is_plain_json(speech):
    tables, outcomes = judge(speech)
    summary = summarise(tables, outcomes)
    assert json.loads(json.dumps(summary)) == summary
    corpus = summary["corpora"]["mine"]
    assert (corpus["recordings"], corpus["utterances"], corpus["hours"]) == (5, 5, round(5 / 3600, 4))
    assert corpus["rates"] == {"16000": 5}
    assert {item["table"] for item in summary["expectations"]} == {"audio", "utterances"}
    assert all(item["failed"] == 0 for item in summary["expectations"])


def silence(folder):
    soundfile.write(folder / "a-2.wav", np.zeros(RATE), RATE, "FLOAT")


def clip(folder):
    soundfile.write(folder / "a-2.wav", np.clip(np.random.default_rng(1).normal(0, 1, RATE), -1, 1), RATE, "FLOAT")


def plant_nan(folder):
    samples = np.full(RATE, 0.1)
    samples[77] = np.nan
    samples[1::2] *= -1
    soundfile.write(folder / "a-2.wav", samples, RATE, "FLOAT")


def plant_offset(folder):
    soundfile.write(folder / "a-2.wav", np.random.default_rng(1).normal(0.3, 0.02, RATE), RATE, "FLOAT")


def truncate_flac(folder):
    path = folder / "a-4.flac"
    path.write_bytes(path.read_bytes()[:9_000])


def shorten(folder):
    soundfile.write(folder / "a-2.wav", np.random.default_rng(1).normal(0, 0.05, 800), RATE, "FLOAT")


def lengthen(folder):
    soundfile.write(folder / "a-2.wav", np.random.default_rng(1).normal(0, 0.05, 40 * RATE), RATE, "FLOAT")


def rewrite(text):
    def plant(folder):
        lines = (folder / "a.trans.txt").read_text().splitlines()
        lines[2] = f"a-2 {text}"
        (folder / "a.trans.txt").write_text("\n".join(lines), encoding="utf-8")

    plant.__name__ = text[:8]
    return plant


FAULTS = [
    (silence, r"audio is not silent \(validate\.min_level_db\).*a-2\.wav \(level_db -120\)"),
    (clip, r"audio is not clipped \(validate\.max_clipped\).*a-2\.wav \(clipped 0\.3"),
    (plant_nan, r"samples are numbers.*a-2\.wav \(not_numbers 1\)"),
    (plant_offset, r"audio has no DC offset.*a-2\.wav \(dc_offset 0\.\d+\)"),
    (truncate_flac, r"audio decodes to the end.*a-4\.flac \(missing_seconds (1|0\.\d+)\)"),
    (shorten, r"audio is not shorter than validate\.min_seconds.*a-2\.wav \(seconds 0\.05\)"),
    (lengthen, r"utterances are not longer than validate\.max_seconds.*mine/a-2 \(seconds 40\)"),
    (rewrite("... ?!"), r"transcripts are not empty once normalised: .*mine/a-2 \(characters 0\)"),
    (rewrite("HELLO привет"), r"letters that normalisation drops: .*mine/a-2 \(foreign_letters 6\)"),
    (rewrite("WORD " * 30), r"pace is that of speech.*mine/a-2 \(characters_per_second 149\)"),
]


@pytest.mark.parametrize(("plant", "named"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_a_planted_fault_is_named(speech, plant, named):
    plant(speech)
    tables, outcomes = judge(speech)
    with pytest.raises(VelocityError, match=r"1 of 5 do not comply") as caught:
        refuse_failures(outcomes, tables)
    assert caught.match(named)
    assert "\n" not in str(caught.value)


def test_as_many_empty_transcripts_as_allowed(speech):
    rewrite("... ?!")(speech)
    tables, outcomes = judge(speech, Validation(max_empty_after_normalization=1))
    refuse_failures(outcomes, tables)
    assert sum(len(outcome.failed) for outcome in outcomes) == 1
    (speech / "a.trans.txt").write_text("".join(f"a-{i} {'?!' if i < 2 else 'FINE WORDS'}\n" for i in range(5)))
    tables, outcomes = judge(speech, Validation(max_empty_after_normalization=1))
    with pytest.raises(VelocityError, match=r"2 of 5 do not comply: mine/a-0 .*, mine/a-1 "):
        refuse_failures(outcomes, tables)


def test_unlabelled_speech_is_judged_by_its_audio_alone(speech):
    recordings, supervisions = read_folder("mine", speech, labelled=False)
    tables = {"audio": measure_audio(recordings, 1), "utterances": measure_text(supervisions)}
    outcomes = check_tables(tables, Validation())
    assert {outcome.table for outcome in outcomes} == {"audio"}
    assert summarise(tables, outcomes)["corpora"]["mine"]["utterances"] == 0
