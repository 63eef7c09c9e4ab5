"""The page's recognition without a browser: it takes audio apart, and joins what it heard, as the Python runtime does.

Needs Node.js, and is skipped where there is none; tests/artefacts/test_browser.py has the whole page in a browser.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.chromium import DECODE, encode
from tests.tone_model import VOCABULARY, speak
from velocity.artefacts.web_bundle import PAGE
from velocity.audio import SAMPLE_RATE
from velocity.recognition.decoding.pieces import pieces
from velocity.recognition.offline import VelocityASR
from velocity.recognition.segmentation import stretches

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js")
# What it hears depends on where its input begins and how long it is: each frame is its loudest mel bin and that length.
NETWORK = """(mel) => {
  const frames = mel.length / 80, logProbs = new Float32Array(Math.ceil(frames / 2) * config.vocabulary);
  for (let frame = 0; frame < frames; frame += 2) {
    const row = mel.subarray(80 * frame, 80 * (frame + 1));
    const label = (row.indexOf(Math.max(...row)) + frames) % config.vocabulary;
    logProbs[(frame / 2) * config.vocabulary + label] = 1;
  }
  return logProbs;
}"""


def network(mel: np.ndarray) -> np.ndarray:
    return np.eye(VOCABULARY, dtype=np.float32)[None, (mel[::2].argmax(1) + len(mel)) % VOCABULARY]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(PAGE, tmp_path_factory.mktemp("page"), dirs_exist_ok=True)
    (folder / "package.json").write_text('{"type": "module"}')  # browsers take every script of the page for a module
    return folder


def run(page: Path, program: str, given: Any) -> Any:
    """What ``program``, the body of an asynchronous function of ``given`` in the folder of the page, returns."""
    script = f"""
      import {{ readFileSync }} from 'node:fs';
      const work = async (given) => {{ {program} }};
      console.log(JSON.stringify(await work(JSON.parse(readFileSync(0, 'utf8')))));
    """
    command = [NODE, "--input-type=module", "--eval", script]
    found = subprocess.run(command, cwd=page, input=json.dumps(given), capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.mark.parametrize("frame", [0.02, 0.04])
def test_stretches_are_those_of_the_runtime(page: Path, frame: float) -> None:
    random = np.random.default_rng(0)
    patterns = [np.zeros(0, bool), np.zeros(7, bool), np.ones(7, bool)]
    for _ in range(100):  # quiet and voice by turns, often about as long as parts two stretches
        runs = random.choice([1, 2, 7, 49, 50, 51, 120], random.integers(1, 9))
        patterns.append(np.repeat(np.arange(len(runs)) % 2 == random.integers(2), runs))
    program = f"""
      const {{ stretches }} = await import('./segmentation.js');
      return given.map((active) => [...stretches(active, {frame})]);
    """
    found = run(page, program, [active.astype(int).tolist() for active in patterns])
    assert found == [[list(each) for each in stretches(active, frame)] for active in patterns]


def recordings(folder: Path) -> dict[str, np.ndarray]:
    speech, long = speak("hello there", folder), speak("it is a long way to the end of this " * 4, folder)
    # Numbers are seconds of quiet: of 1.3 s, too little lies between two voices to part them.
    made: dict[str, list[np.ndarray | float]] = {
        "speech": [speech],
        "silence": [3.0],
        "quiet around and between": [3.0, speech, 1.3, speech, 5.3, speech, 2.5],
        "several chunks": [speech, 5.3, speech, 1.3, long, 3.0, long],
        "after chunks of quiet": [40.0, speech],
        "a stretch begins where a chunk does": [speech, 10.68 - len(speech) / SAMPLE_RATE, long],
        "the first stretch is in a context": [10.72, long],
    }
    quiet = lambda seconds: np.zeros(round(seconds * SAMPLE_RATE), np.float32)  # noqa: E731
    return {
        name: np.concatenate([quiet(part) if isinstance(part, float) else part for part in parts])
        for name, parts in made.items()
    }


@pytest.mark.parametrize("space", [True, False])
def test_the_page_joins_its_stretches_as_the_runtime_does(
    page: Path, model: VelocityASR, folder: Path, space: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``space``: it is a class of its own, as where letters are classes."""
    texts = pieces(model.tokenizer)
    if not space:
        texts[texts.index(" ")] = "_"
        monkeypatch.setattr(model, "_letters", model._letters._replace(space=None))
    monkeypatch.setattr(VelocityASR, "__call__", lambda _, mel, phones: network(mel))
    program = f"""
      const {{ Recogniser }} = await import('./recogniser.js');
      const {{ bestClasses }} = await import('./decoding.js');
      const {{ chunks }} = await import('./segmentation.js');
      const {{ config, pieces }} = given;
      const recogniser = new Recogniser(null, null, config, pieces, null, 'none');
      recogniser.logProbs = {NETWORK};
      const heard = [];
      for (const text of given.recordings) {{
        const posteriors = recogniser.posteriors(chunks(({DECODE})(text), recogniser.frame));
        heard.push([]);
        for await (const piece of posteriors) heard.at(-1).push([...bestClasses(piece, config.vocabulary)]);
      }}
      return heard;
    """
    sounds = recordings(folder)
    given = {"config": model.config, "pieces": texts, "recordings": [encode(each) for each in sounds.values()]}
    for (name, samples), found in zip(sounds.items(), run(page, program, given), strict=True):
        expected = [piece.argmax(1).tolist() for piece in model.posteriors(samples)]
        assert found == expected, name
