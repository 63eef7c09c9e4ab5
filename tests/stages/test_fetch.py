"""The stage fetch over the network that a mirror stands for: from the official archives' layout to manifests."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import velocity.corpora
from tests.corpora import layouts
from tests.corpora.serving import serving
from velocity.corpora import download
from velocity.data.manifests import read_faults, read_recordings, read_supervisions
from velocity.errors import VelocityError
from velocity.stages import fetch

ROOT = Path(__file__).parents[2]
TABLE = Path(velocity.corpora.__path__[0], "archives.yaml")
SOURCE = "archives.yaml"
MINI = {"train": ["train-clean-5"], "validation": 0.1, "test": ["dev-clean-2"]}
CORPORA = {
    "mini": {"kind": "librispeech", "source": SOURCE, **MINI},
    "light": {"kind": "librilight", "source": SOURCE, "parts": ["small"]},
    "lj": {"kind": "ljspeech", "source": SOURCE},
    "ocean": {"kind": "speechocean762", "source": SOURCE, "train": ["train"], "validation": 0.5, "test": ["test"]},
    "voices": {
        "kind": "common-voice", "source": "cv.tar.gz", "train": ["train"], "validation": ["dev"], "test": ["test"],
    },
}  # fmt: skip
UTTERANCES = {"mini": 6, "light": 2, "lj": 2, "ocean": 3, "voices": 4}


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A mirror of small copies; the current folder is a project that names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "BACK_OFF", 0.001)
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    YAML(typ="safe").dump({**params, "corpora": CORPORA}, Path("params.yaml"))
    Path("cv.tar.gz").write_bytes(layouts.pack(layouts.commonvoice()))
    Path(SOURCE).write_bytes(TABLE.read_bytes())
    with serving() as running:
        running.files = layouts.official()
        layouts.rewrite_table(Path(SOURCE), running.files)
        monkeypatch.setenv("VELOCITY_MIRROR", running.url)
        yield running


def run_fetch(name, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fetch", name])
    fetch.main()
    return digests(name)


def digests(name):
    files = sorted(Path("data/manifests", name).iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_fetched_through_the_mirror(server, monkeypatch, name):
    first = run_fetch(name, monkeypatch)
    folder = Path("data/manifests", name)
    recordings, supervisions = list(read_recordings(folder)), list(read_supervisions(folder))
    assert len(recordings) == len(supervisions) == UTTERANCES[name]
    assert list(read_faults(folder)) == []
    for recording in recordings:
        assert recording.id.startswith(f"{name}/")
        assert recording.sources[0].source.startswith(f"data/raw/{name}/")
        assert Path(recording.sources[0].source).is_file()
    assert {segment.custom["corpus"] for segment in supervisions} == {name}

    requests = len(server.requests)
    server.files.clear()
    assert run_fetch(name, monkeypatch) == first  # archives are kept
    assert len(server.requests) == requests


def test_a_refused_archive_leaves_no_corpus(server, monkeypatch):
    run_fetch("mini", monkeypatch)
    bad = {"LibriSpeech/../../../../outside": b"", **layouts.librispeech("dev-clean-2", ["3"])}
    server.files["/resources/31/dev-clean-2.tar.gz"] = layouts.pack(bad)
    layouts.rewrite_table(Path(SOURCE), server.files)
    Path("data/downloads/librispeech/dev-clean-2.tar.gz").unlink()
    before = set(Path("data/raw/mini").rglob("*"))
    with pytest.raises(VelocityError, match=r"dev-clean-2\.tar\.gz: member '.*outside' has '\.\.' in its path"):
        run_fetch("mini", monkeypatch)
    assert set(Path("data/raw/mini").rglob("*")) == before  # as it was, and not described any more
    assert not Path("data/manifests/mini").exists()
    assert not list(Path("data").rglob("*outside*"))
    assert not list(Path("data").rglob("*.partial"))


def test_a_fetch_that_is_killed_goes_on(server, monkeypatch):
    path = "/resources/31/train-clean-5.tar.gz"
    smooth = run_fetch("mini", monkeypatch)
    folder = Path("data/downloads/librispeech")
    for archive in folder.iterdir():
        archive.unlink()

    def trickle(handler, data, start):
        handler.begin(data, start, data[start : start + 1500])
        handler.server.released.wait(60)

    server.behaviours = [trickle]
    killed = subprocess.Popen(
        [sys.executable, "-m", "velocity.stages.fetch", "mini"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    part = folder / "train-clean-5.tar.gz.part"
    while killed.poll() is None and not (part.exists() and part.stat().st_size == 1500):
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL, "the download ended before it could be killed"
    assert not (folder / "train-clean-5.tar.gz").exists()
    assert part.read_bytes() == server.files[path][:1500]

    assert run_fetch("mini", monkeypatch) == smooth
    assert (path, "bytes=1500-") in server.requests
    assert (folder / "train-clean-5.tar.gz").read_bytes() == server.files[path]
