"""Feature statistics against NumPy over all frames at once."""

import numpy as np
import pytest
import soundfile
import torch
from lhotse import MonoCut, Recording

from velocity.audio import compute_mel_spectrogram, load_audio
from velocity.data.statistics import measure_features
from velocity.model.level import LevelNormalisation


@pytest.fixture(scope="module")
def cuts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    random = np.random.default_rng(1)
    cuts = []
    for index in range(12):
        path = folder / f"{index}.wav"
        soundfile.write(path, random.normal(0, 0.02 * (index + 1), 8_000 + 1_000 * index), 16_000, "FLOAT")
        recording = Recording.from_file(path)
        cuts.append(MonoCut(f"mine/{index}", 0.0, recording.duration, 0, recording=recording))
    return cuts


def frames_of(cuts):
    return np.concatenate([levelled(load_audio(cut.recording.sources[0].source)) for cut in cuts])


def levelled(samples):
    mel = torch.from_numpy(np.array(compute_mel_spectrogram(samples))).unsqueeze(0)
    return LevelNormalisation(causal=False)(mel, torch.ones_like(mel[..., :1]))[0].numpy()


def test_one_pass_equals_numpy_whatever_the_threads(cuts):
    frames = frames_of(cuts).astype(np.float64)
    measured = measure_features(cuts, threads=1)
    np.testing.assert_allclose(measured["mean"], frames.mean(axis=0), atol=2e-6)
    np.testing.assert_allclose(measured["std"], frames.std(axis=0), atol=2e-6)
    assert measure_features(cuts, threads=4) == measured


def test_windows_count_their_own_frames_only(cuts):
    samples = load_audio(cuts[-1].recording.sources[0].source)[4_000:12_000]
    window = MonoCut("mine/window", 0.25, 0.5, 0, recording=cuts[-1].recording)
    expected = levelled(samples).mean(axis=0)
    np.testing.assert_allclose(measure_features([window])["mean"], expected, atol=1e-5)


def test_no_more_than_enough_is_read(cuts):
    def first_cuts():
        yield from cuts[:5]  # the fifth goes beyond 3 s
        raise AssertionError("a cut behind them was asked for")

    assert measure_features(first_cuts(), enough_seconds=3.0) == measure_features(cuts[:5])
