"""The web bundle in a real browser, driven from Python: what the page computes, and how fast."""

from __future__ import annotations

import base64
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from velocity.artefacts.site import Site, write_site
from velocity.errors import VelocityError

SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")  # tells right from wrong, not speed
DECODE = "(text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer)"
ENCODE = """(values) => {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  let text = '';
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(text);
}"""
LOAD = """async ({ options }) => {
  const { Recogniser } = await import('./recogniser.js');
  const { Speech } = await import('./speech.js');
  window.recogniser = await Recogniser.load(options);
  window.speech = await Speech.load(options);
  return { provider: speech.provider, threads: speech.threads, seconds: speech.seconds };
}"""
LOG_PROBS = f"async ({{ mel }}) => ({ENCODE})(await recogniser.logProbs(({DECODE})(mel)))"
FEATURES = f"""async ({{ samples }}) => {{
  const {{ melSpectrogram }} = await import('./features.js');
  return ({ENCODE})(melSpectrogram(({DECODE})(samples)));
}}"""
TRANSCRIBE = f"async ({{ samples }}) => speech.transcribe(({DECODE})(samples))"


class Browser:
    """A headless Chromium that has the page of ``folder``, written by ``velocity.artefacts.site``, open.

    >>> with Browser(folder, provider="wasm", threads=1) as browser:
    ...     browser(mel)
    """

    def __init__(self, folder: Path, provider: str = "wasm", threads: int = 1, arguments: tuple[str, ...] = ()) -> None:
        """``provider``: "wasm" or "webgpu". Raises VelocityError where there is no Chromium or no playwright."""
        self.folder = folder
        self._options = {"provider": provider, "threads": threads}
        self._arguments = [*(SOFTWARE_GPU if provider == "webgpu" else ()), *arguments]

    def __enter__(self) -> Browser:
        self._playwright, self.chromium = launch(self._arguments)
        self._site = Site(self.folder)
        threading.Thread(target=self._site.serve_forever, daemon=True).start()
        self.url = self._site.url
        self.page = self.chromium.new_page()
        self.page.goto(f"{self.url}icon.svg")  # of the same origin, and does nothing by itself
        self.loaded: dict[str, Any] = self.page.evaluate(LOAD, {"options": self._options})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.chromium.close()
        self._playwright.stop()
        self._site.shutdown()
        self._site.server_close()

    def __call__(self, mel: np.ndarray) -> np.ndarray:
        """(1, frames, 80) log-mel → (1, frames', V) float32 log-posteriors."""
        frames, vocabulary = mel.shape[1], self.page.evaluate("() => recogniser.config.vocabulary")
        if len(mel) != 1:
            raise ValueError(f"features of shape {mel.shape}: the page takes one utterance, not {frames}")
        return _decode(self.page.evaluate(LOG_PROBS, {"mel": encode(mel)})).reshape(1, -1, vocabulary)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """(samples,) at 16 kHz → (frames, 80), by the page's own features."""
        return _decode(self.page.evaluate(FEATURES, {"samples": encode(samples)})).reshape(-1, 80)

    def transcribe(self, samples: np.ndarray) -> dict[str, Any]:
        """(samples,) at 16 kHz, of any length → {"text", "passages", "seconds" of sound, "took": seconds of work}."""
        return self.page.evaluate(TRANSCRIBE, {"samples": encode(samples)})


def launch(arguments: list[str]) -> tuple[Any, Any]:
    """A running playwright and its headless Chromium, both to be ended by the caller.

    Raises VelocityError where there is no Chromium or no playwright.
    """
    path = find_chromium()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise VelocityError("playwright is not installed: pip install 'velocity-asr[browser]'") from error
    if path is None:
        raise VelocityError("chromium: not found; install Chromium or Chrome")
    playwright = sync_playwright().start()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root there is none
    return playwright, playwright.chromium.launch(executable_path=path, args=[*root, *arguments])


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def encode(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)


@contextmanager
def browsing(artefact: Path, site: Path, arguments: tuple[str, ...] = ()) -> Iterator[Browser]:
    """A ``Browser`` of the page with the model ``artefact``, written to ``site``; where there is no Chromium or no
    ONNX Runtime Web, the test is skipped."""
    import pytest

    with ExitStack() as stack:
        try:
            write_site(artefact, site)
            browser = stack.enter_context(Browser(site, arguments=arguments))
        except VelocityError as error:
            pytest.skip(str(error))
        yield browser
