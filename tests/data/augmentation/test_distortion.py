"""The chain as a whole, speed and level: measured on the signal that comes out."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.augmentation import augmentation, only
from velocity.audio import SAMPLE_RATE
from velocity.config import parse_params
from velocity.config.augmentation import EFFECTS
from velocity.data.distortion import Distortion, masked
from velocity.errors import VelocityError

EVERYTHING = {"rooms": 1.0, "simulated_rooms": 2, "noise": 1.0, "telephone": 1.0, "codec": 1.0}


def distort(samples, seed=0, **settings):
    return Distortion(only(**settings), 1).distort(samples, np.random.default_rng(seed))


def pitch(samples):
    """Hz of the strongest partial."""
    return np.fft.rfft(samples * np.hanning(len(samples)), 1 << 20).__abs__().argmax() * SAMPLE_RATE / (1 << 20)


@given(st.integers(1, 100_000), st.integers(0, 2**32))
def test_all_off_changes_no_byte(length, seed):
    samples = np.random.default_rng(seed).standard_normal(length, dtype=np.float32)
    nothing = Distortion(only(), 1)
    random = np.random.default_rng(seed)
    assert nothing.distort(samples, random).tobytes() == samples.tobytes()
    features = torch.randn(1, max(1, length // 160), 80)
    assert masked(only(), features, torch.tensor([features.size(1)])) is features


@pytest.fixture(scope="module")
def everything():
    return Distortion(augmentation(**EVERYTHING), 1)


@given(st.integers(1, 12_000), st.integers(0, 2**32))
def test_all_on_gives_the_same_bytes_for_the_same_draws_at_any_length(everything, length, seed):
    samples = np.random.default_rng(seed).standard_normal(length, dtype=np.float32)
    first, again = (everything.distort(samples, np.random.default_rng(seed)) for _ in range(2))
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    quiet = 2 * 3.0 * SAMPLE_RATE
    assert length / 1.1 - 1 <= len(first) <= length / 0.9 + 1 + quiet
    assert first.tobytes() == again.tobytes()


def test_a_new_training_from_the_same_seed_has_the_same_rooms_and_another_seed_has_others(everything, speech):
    output = [Distortion(augmentation(**EVERYTHING), seed).distort(speech, np.random.default_rng(4)) for seed in (1, 2)]
    assert output[0].tobytes() == everything.distort(speech, np.random.default_rng(4)).tobytes()
    assert output[0].tobytes() != output[1].tobytes()


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.25])
def test_speed_moves_pitch_and_length_by_its_factor(factor):
    tone = np.sin(2 * np.pi * 440 * np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    faster = distort(tone, speeds=(factor,))
    assert len(faster) == pytest.approx(len(tone) / factor, abs=1)
    assert pitch(faster) == pytest.approx(440 * factor, abs=0.1)


def test_gain_is_within_its_decibels_on_either_side_and_clips_nothing(speech):
    gains = [
        20 * np.log10(output[9_999] / speech[9_999]) for output in (distort(speech, s, gain_db=9.0) for s in range(40))
    ]
    assert -9 <= min(gains) < -7
    assert 7 < max(gains) <= 9
    loud = distort(4 * speech, 1, gain_db=9.0)
    assert np.abs(loud).max() == pytest.approx(4 * np.abs(speech).max() * 10 ** (gains[1] / 20), rel=1e-5)


def test_the_level_changes_once_by_no_more_than_its_range(speech):
    flat = np.full(4_000, 0.5, np.float32)
    ratios = set()
    for seed in range(60):
        found = distort(flat, seed, level_changes=1.0)
        steps = np.flatnonzero(np.diff(found))
        assert len(steps) <= 1
        assert found.max() == 0.5 or found.min() == found.max()
        decibels = 20 * np.log10(found.min() / 0.5)
        assert -20.0 <= decibels <= 0.0
        ratios.add((round(float(decibels)), bool(found[0] < found[-1])))
    assert len(ratios) > 20
    assert {louder for _, louder in ratios} == {True, False}
    assert (flat == 0.5).all()  # a copy


@pytest.mark.parametrize("switch", ["rooms", "noise", "telephone", "codec"])
def test_a_switch_is_the_share_of_utterances_that_it_touches(switch, speech):
    settings = only(**{switch: 0.3}, simulated_rooms=1, codecs=("vorbis",))
    distortion = Distortion(settings, 1)
    random = np.random.default_rng(0)
    touched = [distortion.distort(speech[:800], random).tobytes() != speech[:800].tobytes() for _ in range(300)]
    assert np.mean(touched) == pytest.approx(0.3, abs=0.08)


def test_every_effect_has_a_place_of_its_own_and_values_that_switch_it_off():
    assert len({effect.order for effect in EFFECTS}) == len(EFFECTS) == 9
    keys = set(vars(augmentation()))
    for effect in EFFECTS:
        assert effect.off.keys() < keys
        if effect.masks:
            assert effect.hidden(only(), torch.tensor([9]), 9, 80) is None
        else:
            assert effect.prepare(only(), 1) is None or effect.off == {"speeds": [1.0]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rooms", 1.5),
        ("noise", -0.1),
        ("speeds", []),
        ("speeds", [0.0]),
        ("room_rt60", [0.5, 0.2]),
        ("noise_snr_db", [30, 10]),
        ("codecs", ["flac"]),
        ("time_mask_share", 1.2),
        ("quiet_seconds", [2.0, 1.0]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_key(key, value):
    from ruamel.yaml import YAML

    with open("params.yaml", encoding="utf-8") as file:
        document = YAML(typ="safe").load(file)
    document["finetune"]["augmentation"][key] = value
    with pytest.raises(VelocityError, match=rf"finetune\.augmentation.*{key}"):
        parse_params(document)


@pytest.mark.parametrize(("switch", "key"), [("noise", "noise_source"), ("rooms", "room_source")])
def test_a_folder_without_usable_audio_is_named_before_the_training(switch, key, tmp_path):
    def message(folder):
        with pytest.raises(VelocityError, match=rf"finetune\.augmentation\.{key}: .*{folder.name}") as error:
            Distortion(augmentation(**{switch: 0.5, key: str(folder)}), 1)
        return str(error.value)

    assert "no such folder" in message(tmp_path / "nowhere")
    (tmp_path / "README.md").write_text("no audio here")
    assert "no audio files" in message(tmp_path)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    assert "empty.wav" in message(tmp_path)
    (tmp_path / "empty.wav").unlink()
    (tmp_path / "broken.flac").write_bytes(b"fLaC and no more")
    assert "broken.flac: cannot be read" in message(tmp_path)
    Distortion(only(**{key: str(tmp_path)}), 1)  # switched off: not read
