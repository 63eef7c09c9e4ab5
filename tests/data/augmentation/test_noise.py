"""Noise: the ratio is the one asked for; recordings are taken from anywhere in them, looped where they are short."""

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.augmentation import only
from velocity.audio import SAMPLE_RATE
from velocity.data.augmentation.noise import add_noise, generate_noise, noise_from
from velocity.data.distortion import Distortion


def power_db(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A folder with a long stereo recording at 44.1 kHz and a short mono one at 16 kHz, each known by its frequency."""
    folder = tmp_path_factory.mktemp("noise")
    long, short = (
        np.sin(2 * np.pi * f * np.arange(n) / r) for f, n, r in ((3000, 441_000, 44_100), (500, 3_200, 16_000))
    )
    (folder / "street").mkdir()
    soundfile.write(folder / "street" / "long.flac", np.stack([0.1 * long, 0.3 * long], axis=1), 44_100)
    soundfile.write(folder / "short.ogg", 0.3 * short, 16_000, format="OGG", subtype="VORBIS")
    return str(folder)


@given(st.floats(-5, 40), st.integers(1, 50_000), st.integers(0, 2**32))
def test_the_ratio_is_the_one_asked_for(snr_db, length, seed):
    random = np.random.default_rng(seed)
    clean = 0.1 * random.standard_normal(length, dtype=np.float32) + np.float32(0.01)
    noisy = add_noise(clean, generate_noise(length, random), snr_db)
    assert noisy.dtype == np.float32
    assert power_db(clean) - power_db(noisy - clean.astype(np.float64)) == pytest.approx(snr_db, abs=0.05)


@pytest.mark.parametrize("recorded", [False, True])
def test_the_ratio_is_drawn_from_its_range(recorded, recordings, speech):
    settings = {"noise": 1.0, "noise_snr_db": (5.0, 15.0), "noise_source": recordings if recorded else None}
    distortion = Distortion(only(**settings), 1)
    noisy = [distortion.distort(speech, np.random.default_rng(seed)) for seed in range(30)]
    ratios = [power_db(speech) - power_db(output - speech) for output in noisy]
    assert 5 <= round(min(ratios), 2) < 7
    assert 13 < round(max(ratios), 2) <= 15


def test_silence_stays_silence_and_silent_noise_adds_none(speech):
    assert np.abs(add_noise(np.zeros_like(speech), speech, 10.0)).max() < 1e-4
    assert (add_noise(speech, np.zeros_like(speech), 10.0) == speech).all()


def test_generated_noise_is_between_white_and_pink():
    slopes = []
    for seed in range(20):
        spectrum = np.abs(np.fft.rfft(generate_noise(1 << 16, np.random.default_rng(seed)))) ** 2
        octaves = [10 * np.log10(spectrum[2**k : 2 ** (k + 1)].mean()) for k in range(8, 15)]
        slopes.append(np.polyfit(range(7), octaves, 1)[0])
    assert all(-5 < slope < 0.3 for slope in slopes)  # dB an octave: -10·β·log10(2)
    assert max(slopes) - min(slopes) > 3


@given(length=st.integers(1, 30_000), seed=st.integers(0, 2**32))
def test_recordings_give_any_length(recordings, length, seed):
    draw = noise_from(recordings)
    noise = draw(length, np.random.default_rng(seed))
    assert noise.shape == (length,)
    assert noise.dtype == np.float32
    assert noise.tobytes() == draw(length, np.random.default_rng(seed)).tobytes()


def test_every_recording_is_drawn_from_many_places_as_mono_at_16_khz(recordings):
    draw, output, starts = noise_from(recordings), {}, set()
    for seed in range(30):
        noise = draw(SAMPLE_RATE, np.random.default_rng(seed))
        frequency = int(np.abs(np.fft.rfft(noise)).argmax())  # one second: bins are Hz
        output[frequency] = np.sqrt(2 * np.mean(noise**2))
        starts.add(float(noise[:1600].sum()))
    assert sorted(output) == [500, 3000]
    assert output[3000] == pytest.approx(0.2, rel=0.02)  # the mean of the channels
    assert output[500] == pytest.approx(0.3, rel=0.05)  # 0.2 s, played five times without a gap
    assert len(starts) > 20
