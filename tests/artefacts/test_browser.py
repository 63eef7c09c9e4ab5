"""The page in a real browser: what it computes is what the Python runtime computes, and people can use it.

Needs Chromium and ONNX Runtime Web, which is fetched into the user's cache once; skipped where there are none.
"""

import functools
import mimetypes
import re
import shutil
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from tests.chromium import DECODE, SOFTWARE_GPU, Browser, browsing, encode
from tests.tone_model import speak, write_model
from velocity import VelocityASR
from velocity.artefacts.site import Site, write_site
from velocity.audio import SAMPLE_RATE, compute_mel_spectrogram, load_audio
from velocity.corpora.hibari import hibari_voices
from velocity.phones import CLASSES
from velocity.reading.blocks import BLOCK
from velocity.recognition.gain_control import control_gain
from velocity.recognition.offline import SHIPPED
from velocity.recognition.segmentation import chunks, periodicity, plausible, stretches, voice_activity

pytestmark = pytest.mark.slow  # a real browser
SENTENCES = "the night was dark and the road was long", "we have never seen a better book than this one"
pytestmark = pytest.mark.slow

MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def recording(folder):
    """Two sentences as a synthesiser reads them, with a pause after each."""
    (voice,) = hibari_voices(1, seed=7)
    pieces = []
    for sentence in SENTENCES:
        speech, rate = voice.speak(sentence, speed=0.9, pitch=1.2, seed=0)
        pieces += [0.2 * speech / np.abs(speech).max(), np.zeros(round(1.6 * rate))]
    soundfile.write(folder / "any-rate.wav", np.concatenate(pieces), rate)
    path = folder / "recording.wav"
    soundfile.write(path, load_audio(folder / "any-rate.wav"), SAMPLE_RATE)
    return path


@pytest.fixture(scope="module")
def tones(folder):
    return write_model(folder / "tones")


@pytest.fixture(scope="module")
def browser(folder, recording):
    """The page with the shipped model on WebAssembly; its microphone hears the recording once."""
    sound = f"--use-file-for-fake-audio-capture={recording}%noloop"
    with browsing(SHIPPED / "velocity-asr-v2", folder / "shipped", (*SOFTWARE_GPU, *MICROPHONE, sound)) as running:
        yield running


@pytest.fixture(scope="module")
def tone_site(browser, folder, tones):
    write_site(tones, folder / "tone-site")
    with Site(folder / "tone-site") as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()


@pytest.fixture
def open_page(browser):
    """Open a page at a URL, ready or not; none may ask another server for anything, or fail silently."""
    contexts, asked, errors = [], [], []

    def open(url, ready=True, **options):
        context = browser.chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        if ready:
            page.locator("#status", has_text="Ready").wait_for()
        return page

    yield open
    for context in contexts:
        context.close()
    assert all(url.startswith("http://127.0.0.1:") for url in asked)
    assert errors == []


def in_segmentation(browser: Browser, expression: str, samples: np.ndarray):
    """The value of ``expression``, which may use segmentation.js and gain_control.js, ``samples`` given."""
    program = f"""async ({{ given }}) => {{
      const {{ chunks, periodicity, plausible, stretches, voiceActivity }} = await import('./segmentation.js');
      const {{ controlGain }} = await import('./gain_control.js');
      const samples = ({DECODE})(given);
      return {expression};
    }}"""
    return browser.page.evaluate(program, {"given": encode(samples)})


@contextmanager
def any_server(folder: Path):
    """A web server that knows the right types, and no headers."""

    class Plain(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    mimetypes.add_type("text/javascript", ".mjs")
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Plain, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def transcript(page, path: Path) -> str:
    page.set_input_files("#file", path)
    page.locator("#status", has_text="of sound in").wait_for()
    return shown(page)


def shown(page) -> str:
    return " ".join(page.locator("#transcript span").all_inner_texts())


# ------------------------------------------------------------------------------------------- equal to the runtime


def sounds(recording: Path) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    time = np.arange(3 * SAMPLE_RATE) / SAMPLE_RATE
    speech = load_audio(recording)
    return {
        "speech": speech,
        "quiet speech": 1e-3 * speech,
        **{
            f"speech in noise of {level}": (speech + random.normal(0, level, len(speech))).astype(np.float32)
            for level in (0.02, 0.03, 0.05)  # some is a voice, some may be one
        },
        "noise": random.normal(0, 0.1, SAMPLE_RATE).astype(np.float32),
        "a loud tone": np.sin(2 * np.pi * 1000 * time).astype(np.float32),
        "silence": np.zeros(777, dtype=np.float32),
        "a sample": np.ones(1, dtype=np.float32),
        "speech between silences": np.concatenate([np.zeros(50_000), speech, np.zeros(70_001)]).astype(np.float32),
    }


def test_features_are_those_of_training(browser, recording):
    for name, samples in sounds(recording).items():
        expected = compute_mel_spectrogram(samples)
        found = browser.features(samples)
        assert found.shape == expected.shape, name
        energies, theirs = np.exp(np.float64(expected)), np.exp(np.float64(found))
        rounding = 1e-10 * energies.max(axis=1, keepdims=True)  # of sums in 32 bits: far below the loudest bin
        assert (np.abs(theirs - energies) <= 2e-5 * energies + rounding).all(), name


def test_voices_are_found_where_the_runtime_finds_them(browser, recording):
    for name, samples in sounds(recording).items():
        for alone, checked in product((True, False), repeat=2):
            voice = f"voiceActivity(periodicity(samples), {str(alone).lower()}, {str(checked).lower()})"
            active = voice_activity(periodicity(samples), alone, checked)
            assert in_segmentation(browser, f"[...{voice}]", samples) == active.tolist(), name
            found = in_segmentation(browser, f"[...stretches({voice}, 0.02)]", samples)
            assert found == [list(stretch) for stretch in stretches(active, 0.02)], name


def test_quieter_voices_are_raised_as_in_the_runtime(browser, recording):
    speech = load_audio(recording)
    halves = np.array_split(speech, 2)
    steps = {"falls": (1, 0.1), "rises": (0.1, 1), "falls far": (1, 0.003), "stays": (1, 1)}
    for name, (first, second) in steps.items():
        samples = np.concatenate([first * halves[0], second * halves[1]])
        expected = control_gain(samples, periodicity(samples))
        assert (expected is samples) == (name == "stays")
        controlled = "controlGain(samples, periodicity(samples))"
        found = in_segmentation(browser, f"[...{controlled}]", samples)
        assert found == pytest.approx(expected, rel=1e-5, abs=1e-7), name
        if expected is samples:
            assert in_segmentation(browser, f"{controlled} === samples", samples)


def test_text_is_plausible_where_it_is_to_the_runtime(browser):
    random, found = np.random.default_rng(0), []
    for sharpness in (0.0, 0.5, 1.0, 1.2, 1.3, 1.4, 1.5, 2.0, 5.0):
        scores = sharpness * random.standard_normal((50, CLASSES)).astype(np.float32)
        log_probs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
        found.append(plausible(log_probs, 0))
        assert in_segmentation(browser, f"plausible(samples, 0, {CLASSES})", log_probs.ravel()) == found[-1]
    assert {True, False} == set(found)


def test_long_audio_is_cut_where_the_runtime_cuts_it(browser, recording):
    speech = load_audio(recording)
    quiet = np.zeros(30 * SAMPLE_RATE, dtype=np.float32)
    recordings = [np.resize(speech, round(length * SAMPLE_RATE)) for length in (20.0, 20.01, 41.3, 65.0)]
    for audio in [*recordings, np.concatenate([quiet, speech])]:
        cut = chunks(np.split(audio, range(BLOCK, len(audio), BLOCK)), 320)
        shape = "[c.samples.length, c.start, c.end, c.alone]"
        found = in_segmentation(browser, f"[...chunks(samples, 320)].map((c) => {shape})", audio)
        assert found == [[len(chunk.samples), chunk.start, chunk.end, chunk.alone] for chunk in cut]


def test_it_writes_what_the_runtime_writes(browser, recording):
    """But for the INT8 model's rounding."""
    model = VelocityASR.from_pretrained("velocity-asr-v2")
    mel = np.asarray(compute_mel_spectrogram(load_audio(recording)))[None]
    expected, found = model(mel), browser(mel)
    assert found.shape == expected.shape
    assert (found.argmax(-1) == expected.argmax(-1)).mean() >= 0.98
    speech, quiet = load_audio(recording), np.zeros(4 * SAMPLE_RATE, dtype=np.float32)
    for samples in (speech, np.concatenate([quiet, speech, quiet, speech])):
        result = browser.transcribe(samples)
        assert jiwer.cer(model.transcribe(samples), result["text"]) <= 0.03
        assert result["seconds"] == pytest.approx(len(samples) / SAMPLE_RATE)
        assert result["took"] > 0


@pytest.mark.parametrize("provider", ["wasm", "webgpu"])
def test_the_same_text_from_a_model_without_rounding(open_page, tone_site, tones, folder, provider):
    """Tones in several chunks, and a few words on a GPU that software plays; each twice, with quiet before."""
    words = " ".join(["it is a long way to the end of this"] * 4) if provider == "wasm" else "hello world"
    samples = speak(words, tones, pause=0.1)
    assert provider == "webgpu" or len(samples) > 20 * SAMPLE_RATE
    quiet = np.zeros(3 * SAMPLE_RATE, dtype=np.float32)
    soundfile.write(folder / "tones.wav", np.concatenate([quiet, samples, quiet, samples]), SAMPLE_RATE)
    page = open_page(tone_site.url)
    if provider == "webgpu":
        page.select_option("#choose-provider", "webgpu")
        page.locator("#status", has_text="Ready").wait_for()
    text = transcript(page, folder / "tones.wav")
    assert page.inner_text("#provider") == {"wasm": "WebAssembly", "webgpu": "WebGPU"}[provider]
    assert text == VelocityASR(tones).transcribe(folder / "tones.wav") == f"{words} {words}"


# ------------------------------------------------------------------------------------------------- as people use it


def test_a_file_is_transcribed_while_the_page_stays_awake(browser, open_page, recording, folder):
    """The control is the same work in the page's own thread: it beats once a chunk."""
    samples = np.resize(load_audio(recording), 25 * SAMPLE_RATE)
    path = folder / "shipped/long.wav"  # which the control fetches
    soundfile.write(path, samples, SAMPLE_RATE)
    page = open_page(browser.url, viewport={"width": 375, "height": 700})
    page.evaluate("() => { window.beats = 0; setInterval(() => window.beats++, 10); }")
    page.locator("#choose-threads").select_option("1")
    page.locator("#status", has_text="Ready").wait_for()
    before = page.evaluate("() => window.beats")
    text = transcript(page, path)
    awake = page.evaluate("() => window.beats") - before
    asleep = page.evaluate(
        """async () => {
          const { Recogniser } = await import('./recogniser.js');
          const { readAudio } = await import('./speech.js');
          const recogniser = await Recogniser.load({ provider: 'wasm', threads: 1 });
          const samples = await readAudio(await (await fetch('long.wav')).blob());
          const before = window.beats;
          for await (const _ of recogniser.transcribe(samples));
          return window.beats - before;
        }"""
    )
    assert awake > 3 * asleep
    assert jiwer.cer(VelocityASR.from_pretrained("velocity-asr-v2").transcribe(samples), text) <= 0.03
    assert 0 < float(page.inner_text("#rtf")) < 10
    assert page.inner_text("#threads") == "1"
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#transcript li").count() >= 2


def test_the_microphone_is_heard_as_one_speaks(browser, open_page, recording):
    page = open_page(browser.url, permissions=["microphone"])
    page.locator("#microphone").click()
    page.locator("#transcript li").nth(1).wait_for()
    page.locator("#microphone", has_text="Stop").click()
    page.locator("#microphone", has_text="Microphone").wait_for()
    whole = VelocityASR.from_pretrained("velocity-asr-v2").transcribe(recording)
    assert jiwer.cer(whole, shown(page)) <= 0.2


def test_a_newer_file_takes_the_place_of_one_that_is_being_heard(open_page, tone_site, folder, tones):
    soundfile.write(folder / "older.wav", np.tile(speak("old and slow", tones), 120), SAMPLE_RATE)
    soundfile.write(folder / "newer.wav", speak("new", tones), SAMPLE_RATE)
    page = open_page(tone_site.url)
    page.set_input_files("#file", folder / "older.wav")
    page.locator("#transcript li").first.wait_for()
    assert transcript(page, folder / "newer.wav") == "new"
    page.locator("#hint", has_text="newer.wav").wait_for()


def test_what_cannot_be_read_is_told(open_page, tone_site, folder, tones):
    (folder / "broken.mp3").write_text("no sound")
    soundfile.write(folder / "next.wav", speak("next", tones), SAMPLE_RATE)
    page = open_page(tone_site.url)
    page.set_input_files("#file", folder / "broken.mp3")
    page.locator("#error", has_text="broken.mp3 cannot be read as audio").wait_for()
    assert transcript(page, folder / "next.wav") == "next"
    assert page.locator("#error").is_hidden()


def test_a_page_that_is_not_isolated_has_one_thread(open_page, folder, tone_site, tones):
    soundfile.write(folder / "two.wav", speak("good day", tones), SAMPLE_RATE)
    with any_server(folder / "tone-site") as url:
        page = open_page(url)
        assert transcript(page, folder / "two.wav") == "good day"
        assert page.inner_text("#threads") == "1"


def test_the_example_in_the_documents_works(open_page, folder, tone_site, tones):
    document = (Path(__file__).parents[2] / "docs/browser.md").read_text(encoding="utf-8")
    (folder / "own").mkdir()
    (folder / "own/index.html").write_text(re.search(r"```html\n(.*?)```", document, re.DOTALL)[1])
    shutil.copytree(folder / "tone-site", folder / "own/asr")
    soundfile.write(folder / "three.wav", speak("hello there", tones), SAMPLE_RATE)
    with any_server(folder / "own") as url:
        page = open_page(url, ready=False)
        page.set_input_files("#file", folder / "three.wav")
        page.locator("#text", has_text=re.compile(".")).wait_for()
        assert page.inner_text("#text") == "hello there"


def test_a_model_of_other_bytes_is_refused(browser, open_page, folder, tone_site):
    shutil.copytree(folder / "tone-site", folder / "mixed")
    shutil.copyfile(SHIPPED / "velocity-asr-v2/model.onnx", folder / "mixed/model.onnx")
    with Site(folder / "mixed") as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        page = open_page(site.url, ready=False)
        page.locator("#error", has_text=re.compile(".")).wait_for()
        assert "model.onnx cannot be loaded, or is not the file" in page.inner_text("#error")
        site.shutdown()


def test_everything_can_be_reached_by_keyboard_and_has_a_name(open_page, tone_site):
    page = open_page(tone_site.url)
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.id"))
    assert reached == ["file", "microphone", "choose-provider", "choose-threads"]
    for role, name in (("button", "Microphone"), ("combobox", "Run on"), ("combobox", "with")):
        assert page.get_by_role(role, name=re.compile(name)).count() == 1
    assert page.get_by_label("Choose a file").count() == 1
    assert page.locator("#transcript").get_attribute("aria-live") == "polite"
