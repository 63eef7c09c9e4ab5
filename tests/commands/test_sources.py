"""Folders of audio: what a link leads to is found as if it lay there."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from velocity.commands.transcribe import find_sources
from velocity.data.sounds import find_sounds


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """One recording, one behind a linked folder which links back, and one that is a link itself."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.wav", "store/deep/b.wav", "store/c.wav"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(name, np.ones(100) / 2, 16_000)
    Path("in/linked").symlink_to(Path("store/deep").absolute())
    Path("store/deep/back").symlink_to(Path("in").absolute())
    Path("in/d.wav").symlink_to(Path("store/c.wav").absolute())
    return Path("in")


def test_transcribe_takes_linked_recordings(folder):
    assert [str(source.inside) for source in find_sources([], folder)] == ["a.wav", "d.wav", "linked/b.wav"]


def test_a_link_that_leads_nowhere_is_a_failure_not_a_silence(folder):
    Path("in/lost.wav").symlink_to("nowhere.wav")
    assert Path("in/lost.wav") in {source.path for source in find_sources([folder], None)}


def test_sounds_to_mix_with_are_found_behind_links(folder):
    assert [str(sound.path) for sound in find_sounds("noise", "in")] == ["in/a.wav", "in/d.wav", "in/linked/b.wav"]
