"""The page reads phones as the Python runtime does: the language model, the search, and the words of a whole recording.

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
from velocity.recognition.language_model.tables import SPECIAL
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
ENGLISH = """async () => {
  const { LanguageModel } = await import('./language_model.js');
  const file = await fetch('english.lm');
  window.english = await LanguageModel.read(await file.arrayBuffer());
  window.search = (await import('./search.js')).search;
  return english.words.length;
}"""


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
    assert browser.page.evaluate(ENGLISH) == len(ngram.words)
    return ngram


def test_words_are_as_probable_as_in_python(browser, english):
    """Common words, whose n-grams are known, and others, after which the model backs off."""
    random = np.random.default_rng(0)
    common = np.argsort(-english.unigrams)[:300]
    chosen = np.where(random.random((400, 3)) < 0.7, random.choice(common, (400, 3)), 0)
    chosen = np.where(chosen < len(SPECIAL), random.integers(len(SPECIAL), len(english.words), (400, 3)), chosen)
    expected, known = [], 0
    for number, trigram in enumerate(chosen.tolist()):
        state, row = english.start() if number % 2 else (), []
        for word in trigram:
            state, log_prob = english.word(state, english.words[word])
            row.append(log_prob)
        known += state[-1] >= 0  # two words before are a context
        expected.append([*row, english.end(state)])
    found = browser.page.evaluate(
        """(trigrams) => trigrams.map((trigram, number) => {
          let state = number % 2 ? english.start() : [], logProb;
          return [...trigram.map((word) => {
            ({ state, logProb } = english.word(state, word));
            return logProb;
          }), english.end(state)];
        })""",
        chosen.tolist(),
    )
    assert 40 <= known <= 360
    assert np.allclose(found, expected, rtol=0, atol=1e-4)


def test_the_lexicon_has_the_same_words(browser, english):
    """Whole pronunciations, their beginnings, and phones that no word begins with."""
    random = np.random.default_rng(1)
    asked = [english.pronunciations[word] for word in random.integers(len(SPECIAL), len(english.words), 300)]
    asked += [phones[: 1 + index % 3] for index, phones in enumerate(asked)]
    asked += [english.pronunciation("write"), english.pronunciation("to"), bytes(random.integers(2, CLASSES, 9))]
    asked = [phones for phones in asked if phones]
    found = browser.page.evaluate(
        """(asked) => asked.map((phones) => [
          english.pronounced(phones).map((word) => english.words[word]), english.bestBeginning(phones),
        ])""",
        [phones.decode("latin-1") for phones in asked],
    )
    tree = english.lexicon.tree
    for phones, (words, likely) in zip(asked, found, strict=True):
        node = tree.path(phones)[-1]
        alike = english.lexicon.words[tree.row[node] : tree.row[node] + tree.rows[node]]
        assert words == [english.words[word] for word in alike]
        assert (-np.inf if likely is None else likely) == tree.best[node]
    assert max(len(words) for words, _ in found) > 2
    assert found[-1] == [[], None]


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
    weights = {"weight": 0.8, "word_bonus": 1.0}
    decoder = Decoder(TextTokenizer(tones / "tokenizer.model"), 0.04, lm=english, lm_weight=0.8, word_bonus=1.0)
    common = [phones for word in np.argsort(-english.unigrams)[:2000] if (phones := english.pronunciations[word])]
    texts = []
    for number in range(60):
        words = [common[index] for index in random.integers(0, len(common), 1 + number % 6)]
        log_probs = heard(words, random, noise=(0.3, 2.0, 3.0, 4.0)[number % 4])
        if number % 10 == 9:  # frames as long audio has them
            log_probs = np.concatenate([log_probs, np.where(np.arange(CLASSES) == BLANK, 0, -20.0)[None]] * 2)
        program = f"({{ given, weights }}) => search(({DECODE})(given), english, weights)"
        found = browser.page.evaluate(program, {"given": encode(log_probs), "weights": weights})
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
