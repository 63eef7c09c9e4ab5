"""The page reads phones as the Python runtime does: the search, and the words of a whole recording.

Needs Chromium and ONNX Runtime Web, as test_browser.py does.
"""

import shutil

import numpy as np
import pytest

from tests.chromium import DECODE, browsing, encode
from tests.tone_model import add_phones, add_words, speak, write_model
from velocity import VelocityASR
from velocity.audio import SAMPLE_RATE
from velocity.phones import BLANK, BOUNDARY, CLASSES
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.language_model.choice import SHIPPED
from velocity.recognition.language_model.ngram import NGram
from velocity.text import TextTokenizer

pytestmark = pytest.mark.slow  # a real browser

SENTENCES = (
    "the knight rode to the castle",
    "the knight fought the dragon",
    "it was a dark night",
    "we came home late at night",
    "the fox jumps over the lazy dog",
)
SPELLED = {"knight": "night"}  # spoken alike
ENGLISH = """async (weights) => {
  const { readLanguageModel } = await import('./language_model.js');
  const { Vocabulary } = await import('./search.js');
  const [file, module] = await Promise.all(['english.lm', 'phone_search.wasm'].map((name) => fetch(name)));
  const languageModel = await readLanguageModel(await file.arrayBuffer());
  window.english = new Vocabulary(await WebAssembly.compileStreaming(module), languageModel, weights);
  return languageModel.words.length;
}"""
WEIGHTS = {"weight": 0.8, "word_bonus": 1.0}


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    folder = add_phones(write_model(tmp_path_factory.mktemp("model") / "onnx"))
    return add_words(folder, SENTENCES, SPELLED, order=3, weight=0.5)


@pytest.fixture(scope="module")
def browser(tones, tmp_path_factory):
    """The page with a model of tones that gives phones, and the shipped language model beside it."""
    site = tmp_path_factory.mktemp("browser") / "site"
    with browsing(tones, site) as running:
        shutil.copyfile(SHIPPED / "english.lm", site / "english.lm")
        yield running


@pytest.fixture(scope="module")
def english(browser):
    """The shipped language model, here and as ``english`` in the page."""
    ngram = NGram(SHIPPED / "english.lm")
    assert browser.page.evaluate(ENGLISH, WEIGHTS) == len(ngram.words)
    return ngram


def heard(words: list[bytes], random: np.random.Generator, noise: float) -> np.ndarray:
    """(frames, CLASSES) log-posteriors of a network that hears phones between blanks, more or less well."""
    frames = []
    for phone in bytes([BOUNDARY]).join(words):
        frames += [BLANK] * int(random.integers(0, 3)) + [phone] * int(random.integers(1, 3))
    logits = random.normal(0, noise, (len(frames), CLASSES))
    logits[np.arange(len(frames)), frames] += 6
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def test_the_search_finds_what_python_finds(browser, english, tones):
    random = np.random.default_rng(2)
    weights = {"lm_weight": WEIGHTS["weight"], "word_bonus": WEIGHTS["word_bonus"]}
    decoder = Decoder(TextTokenizer(tones / "tokenizer.model"), 0.04, lm=english, **weights)
    common = [phones for word in np.argsort(-english.unigrams)[:2000] if (phones := english.pronunciations[word])]
    texts = []
    for number in range(60):
        words = [common[index] for index in random.integers(0, len(common), 1 + number % 6)]
        log_probs = heard(words, random, noise=(0.3, 2.0, 3.0, 4.0)[number % 4])
        if number % 10 == 9:  # frames as long audio has them
            log_probs = np.concatenate([log_probs, np.where(np.arange(CLASSES) == BLANK, 0, -20.0)[None]] * 2)
        found = browser.page.evaluate(f"(given) => english.text(({DECODE})(given))", encode(log_probs))
        assert found == decoder.decode_phones(log_probs, words=False)[0].text, number
        texts.append(found)
    assert len(set(texts)) > 40


@pytest.mark.parametrize(
    ("spoken", "text"),
    [
        ("the fox jumps", "the fox jumps"),
        ("the night rode home", "the knight rode home"),
        ("it was a dark night", "it was a dark night"),
        ("the zug jumps", "the jumps"),  # phones that are no word's
        ("zug", ""),
    ],
)
def test_words_are_told_apart_by_their_neighbours(browser, tones, spoken, text):
    samples = speak(spoken, tones)
    assert browser.transcribe(samples)["text"] == VelocityASR(tones).transcribe(samples) == text
    assert VelocityASR(tones, lm="none").transcribe(samples) == spoken, "the letters"


@pytest.mark.parametrize("pause", [0.3, 1.3])
def test_long_audio_is_cut_into_the_same_passages(browser, tones, pause):
    quiet = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    samples = speak(" ".join([SENTENCES[4], "the night rode"] * 2), tones, pause)
    samples = np.concatenate([quiet, samples, quiet, samples])
    found, expected = browser.transcribe(samples), list(VelocityASR(tones).passages(samples, words=False))
    assert [passage["text"] for passage in found["passages"]] == [passage.text for passage in expected]
    assert [passage["start"] for passage in found["passages"]] == pytest.approx([one.start for one in expected])
    assert len(expected) > 1
    assert found["text"] == " ".join([SENTENCES[4], "the knight rode"] * 4)
