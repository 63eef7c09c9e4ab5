"""The figure in docs/browser.md: the page of `velocity-asr demo` after transcribing a synthetic voice.

python -m docs.demo
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from tests.chromium import Browser
from velocity.artefacts.site import write_site
from velocity.corpora.hibari import hibari_voices
from velocity.recognition.offline import SHIPPED

SENTENCES = (
    "there was nothing left for them to do but to wait for the morning",
    "the men of the village had come to the house of the old man",
    "he had been in the house for two hours when the letter came",
    "it was one of the first books which were printed in the city",
    "the night was dark and the road was long",
)
SIZE = {"width": 900, "height": 820}


def main() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        recording = speak(folder / "synthetic-voice.wav")
        write_site(SHIPPED / "velocity-asr-v2", folder / "site")
        with Browser(folder / "site") as browser:
            page = browser.chromium.new_page(viewport=SIZE, color_scheme="light", device_scale_factor=1.5)
            page.goto(browser.url)
            page.locator("#status", has_text="Ready").wait_for()
            page.select_option("#choose-threads", "1")
            page.locator("#status", has_text="Ready").wait_for()
            page.set_input_files("#file", recording)
            page.locator("#status", has_text="of sound in").wait_for()
            page.screenshot(path=Path(__file__).with_suffix(".png"), full_page=True)


def speak(path: Path) -> Path:
    (voice,) = hibari_voices(1, seed=7)
    pieces = []
    for sentence in SENTENCES:
        speech, rate = voice.speak(sentence, speed=0.85, pitch=1.0, seed=0)
        pieces += [0.2 * speech / np.abs(speech).max(), np.zeros(round(0.5 * rate))]
    soundfile.write(path, np.concatenate(pieces), rate)
    return path


if __name__ == "__main__":
    main()
