"""The telephone's band and µ-law against libsndfile's G.711; codecs by what comes back."""

from io import BytesIO

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from velocity.audio import SAMPLE_RATE
from velocity.data.augmentation.codec import CODECS, lossy_codec
from velocity.data.augmentation.telephone import compress_mu_law, expand_mu_law, telephone


def band_db(samples, low, high):
    """Mean power between two frequencies, in dB."""
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return 10 * np.log10(spectrum[(hertz >= low) & (hertz < high)].mean())


def snr_db(clean, output):
    return 10 * np.log10(np.mean(clean.astype(np.float64) ** 2) / np.mean((output - clean.astype(np.float64)) ** 2))


def test_every_code_expands_as_libsndfile_does_it():
    codes = np.arange(256, dtype=np.uint8)
    raw = BytesIO(codes.tobytes())
    theirs = soundfile.read(raw, channels=1, samplerate=8_000, format="RAW", subtype="ULAW", dtype="int16")[0]
    assert (expand_mu_law(codes) * 32_768 == theirs).all()


def test_every_16_bit_sample_is_compressed_as_libsndfile_does_it():
    pcm = np.arange(-32_768, 32_768)
    ours = compress_mu_law((pcm / 32_768).astype(np.float32))
    raw = BytesIO()
    soundfile.write(raw, pcm.astype(np.int16), 8_000, format="RAW", subtype="ULAW")
    assert ours.tobytes() == raw.getvalue()


def test_a_telephone_keeps_its_band_and_nothing_else():
    noise = 0.1 * np.random.default_rng(2).standard_normal(4 * SAMPLE_RATE, dtype=np.float32)
    output = telephone(noise)
    for low, high in ((350, 1_000), (1_000, 2_000), (2_000, 3_350)):
        assert band_db(output, low, high) - band_db(noise, low, high) == pytest.approx(0, abs=0.5)
    for low, high in ((0, 180), (3_600, 4_000), (4_200, 8_000)):
        assert band_db(output, low, high) - band_db(noise, low, high) < -30


def test_a_telephone_moves_nothing_and_adds_the_noise_of_eight_bits():
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    tone = (0.3 * np.sin(2 * np.pi * 1_004 * time)).astype(np.float32)
    middle = slice(2_000, -2_000)  # where the tone begins and ends it is no tone
    assert 33 < snr_db(tone[middle], telephone(tone)[middle]) < 42


@pytest.mark.parametrize("channel", [telephone, *(lambda x, n=n: lossy_codec(x, n, 0.0) for n in CODECS)])
def test_what_is_louder_than_full_scale_is_not_clipped(channel, speech):
    band = telephone(speech) if channel is telephone else speech
    assert snr_db(10 * band, channel(10 * band)) == pytest.approx(snr_db(band, channel(band)), abs=3)
    assert np.abs(channel(10 * speech)).max() > 3


@pytest.mark.parametrize("name", sorted(CODECS))
def test_a_codec_keeps_length_and_place_and_loses_more_the_stronger_it_is(name, speech):
    mild, strong = (lossy_codec(speech, name, strength) for strength in (0.0, 1.0))
    for output in (mild, strong):
        assert output.shape == speech.shape
        assert output.dtype == np.float32
        lags = np.fft.irfft(np.fft.rfft(output, 1 << 17) * np.conj(np.fft.rfft(speech, 1 << 17)))
        assert min(int(lags.argmax()), (1 << 17) - int(lags.argmax())) <= 1
    assert snr_db(speech, mild) > snr_db(speech, strong) > 2
    assert snr_db(speech, mild) < 40
    assert mild.tobytes() == lossy_codec(speech, name, 0.0).tobytes()


@given(st.integers(1, 9_000), st.integers(0, 2**32), st.floats(0, 1))
def test_any_length_comes_back(length, seed, strength):
    samples = 0.1 * np.random.default_rng(seed).standard_normal(length, dtype=np.float32)
    for output in (telephone(samples), *(lossy_codec(samples, name, strength) for name in ("vorbis", "mp3"))):
        assert output.shape == samples.shape
        assert output.dtype == np.float32
        assert np.isfinite(output).all()
