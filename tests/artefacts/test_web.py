"""The web bundle, the runtime beside it and who hands both out; the page itself is tested in test_browser.py."""

import base64
import hashlib
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from tests.command import run
from tests.corpora.serving import serving
from tests.tone_model import add_phones, add_words, write_model
from velocity import phones
from velocity.artefacts import web_runtime as runtime
from velocity.artefacts.site import HEADERS, write_site
from velocity.artefacts.targets.web import write_web
from velocity.artefacts.web_bundle import PAGE, bundle
from velocity.errors import VelocityError
from velocity.recognition.decoding import beam, decoder, phone_search, vocabulary
from velocity.recognition.decoding.decoder import Decoder
from velocity.recognition.language_model.file import write_file
from velocity.recognition.language_model.kneser_ney import estimate
from velocity.recognition.offline import SHIPPED
from velocity.text import TextTokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tones(tmp_path):
    return write_model(tmp_path / "onnx-int8", "onnx-int8")


def integrity(content: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


@lru_cache
def package(extra: str = "package/dist/other.js") -> bytes:
    """onnxruntime-web as npm packs it, with a word in place of each file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in (*(f"package/dist/{name}" for name in runtime.FILES), extra):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return content.getvalue()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a registry that nobody answers at."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    monkeypatch.delenv("npm_config_registry", raising=False)
    monkeypatch.setattr(runtime, "INTEGRITY", integrity(package(), "sha512"))
    return tmp_path / "cache" / "velocity-asr"


# ------------------------------------------------------------------------------------------------------- the bundle


def test_it_lists_every_file_with_length_and_digest(tones, tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    bundle(tones, folder)
    config = json.loads((folder / "config.json").read_text())
    assert set(config["files"]) == {path.name for path in folder.iterdir()} - {"config.json"}
    for name, listed in config["files"].items():
        content = (folder / name).read_bytes()
        assert listed == {"bytes": len(content), "integrity": integrity(content)}
    assert config["target"] == "web"
    assert config["runtime"] == f"onnxruntime-web@{runtime.VERSION}"
    made = json.loads((tones / "config.json").read_text())
    assert config == made | {key: config[key] for key in ("target", "runtime", "files")}


def test_its_vocabulary_writes_what_the_tokenizer_writes(tones, tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    bundle(tones, folder)
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    tokenizer = TextTokenizer(tones / "tokenizer.model")
    assert vocabulary == Decoder(tokenizer, 0.02).pieces
    assert "".join(vocabulary[token] for token in tokenizer.encode("it's a test")) == "it's a test"


def test_the_target_is_the_int8_artefact_with_a_page_around_it(artefact):
    page, model = artefact("web"), artefact("onnx-int8")
    assert (page / "model.onnx").read_bytes() == (model / "model.onnx").read_bytes()
    files = json.loads((page / "config.json").read_text())["files"]
    assert set(files) >= {"index.html", "worker.js", "model.onnx", "vocabulary.json", "LICENSE"}


def test_with_phones_it_has_the_language_model_that_makes_words_of_them(tones, tmp_path):
    add_words(add_phones(tones), ["the fox"])
    (tmp_path / "web").mkdir()
    bundle(tones, tmp_path / "web")
    config, made = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "web", tones))
    content = (tmp_path / "web/words.lm").read_bytes()
    assert content == (tones / "words.lm").read_bytes()
    assert config["files"]["words.lm"] == {"bytes": len(content), "integrity": integrity(content)}
    assert config["language_model"] == made["language_model"]
    (tones / "words.lm").unlink()
    with pytest.raises(VelocityError, match=r"words\.lm: no such language model"):
        bundle(tones, tmp_path / "web")


def test_the_target_takes_the_language_model_with_the_graph(tones, tmp_path):
    add_words(add_phones(tones), ["the fox"])
    (tmp_path / "web").mkdir()
    entries = write_web(SimpleNamespace(tokenizer=tones / "tokenizer.model"), tmp_path / "web", tones)
    assert entries["language_model"] == json.loads((tones / "config.json").read_text())["language_model"]
    assert entries["files"]["words.lm"]["bytes"] == (tones / "words.lm").stat().st_size


@pytest.mark.parametrize("lacking", ["phones", "pronunciations"])
def test_without_phones_or_pronunciations_it_has_no_language_model(tones, tmp_path, lacking):
    add_words(tones, ["the fox"])
    if lacking == "pronunciations":
        write_file(estimate(["the fox"], 2).tables(), add_phones(tones) / "words.lm")
    (tmp_path / "web").mkdir()
    bundle(tones, tmp_path / "web")
    assert "words.lm" not in json.loads((tmp_path / "web/config.json").read_text())["files"]


def test_of_the_shipped_model_it_is_small(tmp_path):
    bundle(SHIPPED / "velocity-asr-v2", tmp_path)
    assert (tmp_path / "english.lm").read_bytes() == (SHIPPED / "english.lm").read_bytes()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 11_000_000


def test_a_model_that_takes_something_else_is_refused(tones, tmp_path):
    (tmp_path / "web").mkdir()
    with pytest.raises(VelocityError, match="streaming: the page needs an offline model"):
        bundle(SHIPPED / "velocity-asr-v2-streaming", tmp_path / "web")
    config = json.loads((tones / "config.json").read_text())
    (tones / "config.json").write_text(json.dumps(config | {"input": "waveform"}))
    with pytest.raises(VelocityError, match=r"onnx-int8: the page needs .* log-mel input"):
        bundle(tones, tmp_path / "web")
    assert not list((tmp_path / "web").iterdir())


def test_the_page_names_no_other_server():
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert path.name == "LICENSE" or not re.search(r"https?:|//[a-z]+\.[a-z]", text), path.name
    assert (PAGE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_its_search_has_the_constants_of_the_runtime():
    text = (PAGE / "search.js").read_text(encoding="utf-8")
    found = {name: int(value) for name, value in re.findall(r"\b([A-Z_]+) = (-?\d+)[,;]", text)}
    assert found == {
        "CLASSES": phones.CLASSES,
        "BLANK": phones.BLANK,
        "BOUNDARY": phones.BOUNDARY,
        "BEAM": decoder.PHONE_BEAM,
        "LABELS": phone_search.TOKENS,
        "ALIKE": decoder.ALIKE,
        "FLOOR": phone_search.FLOOR,
        "MARGIN": beam.MARGIN,
        "NO_WORD": vocabulary.NO_WORD,
    }


# ------------------------------------------------------------------------------------------------ ONNX Runtime Web


def test_the_runtime_is_fetched_once(cache, monkeypatch):
    with serving() as registry:
        registry.files[f"/npm/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"] = package()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"{registry.url}/npm/")
        folder = runtime.web_runtime()
        assert runtime.web_runtime() == folder
        assert len(registry.requests) == 1
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: f"package/dist/{name}" for name in runtime.FILES
    }
    assert list(cache.iterdir()) == [folder]


def test_another_package_than_the_published_one_is_thrown_away(cache, monkeypatch):
    with serving() as registry:
        registry.files[f"/onnxruntime-web/-/onnxruntime-web-{runtime.VERSION}.tgz"] = package(extra="package/evil.js")
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry.url)
        with pytest.raises(VelocityError, match="does not match the published"):
            runtime.web_runtime()
    assert not list(cache.iterdir())


def test_a_link_in_the_package_writes_nothing_outside(cache, monkeypatch, tmp_path):
    """Were the digest ever that of a hostile package, only content would be taken from it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name in ("../../evil", *(f"package/dist/{name}" for name in runtime.FILES)):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    monkeypatch.setattr(runtime, "INTEGRITY", integrity(content.getvalue(), "sha512"))
    cache.mkdir(parents=True)
    (cache / f"onnxruntime-web-{runtime.VERSION}.tgz").write_bytes(content.getvalue())
    runtime.web_runtime()
    assert not list(tmp_path.rglob("evil"))


def test_offline_is_one_line(cache, tones, capsys):
    status, out, error = run(capsys, "demo", "--model", tones, "--port", 0, "--no-browser")
    assert (status, out) == (2, "")
    assert re.fullmatch(r"error: onnxruntime-web-\S+ cannot be downloaded .*NPM_CONFIG_REGISTRY.*\n", error)


# ------------------------------------------------------------------------------------------------------- the server


class Demo:
    """``velocity-asr demo`` in a process of its own, its temporary files in a folder of its own."""

    def __init__(self, tones: Path, cache: Path, folder: Path) -> None:
        (cache / f"onnxruntime-web-{runtime.VERSION}").mkdir(parents=True)
        (cache / f"onnxruntime-web-{runtime.VERSION}/ort.wasm.min.mjs").write_text("export {};")
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "velocity.cli", "demo", "--port", "0", "--no-browser", "--model", tones],
            env=os.environ | {"TMPDIR": str(self.temporary)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else ignored in the background
        )
        self.url = re.match(r"http://127\.0\.0\.1:\d+/", self.process.stdout.readline())[0]

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


@pytest.fixture
def demo(cache, tones, tmp_path):
    running = Demo(tones, cache, tmp_path)
    yield running
    running.process.kill()
    running.process.communicate()


def test_the_demo_serves_everything_with_the_right_types_and_headers(demo):
    with httpx.Client(base_url=demo.url) as client:
        page = client.get("/")
        assert "<h1>VELOCITY-ASR</h1>" in page.text
        assert {name: page.headers[name] for name in HEADERS} == HEADERS
        for path, kind in {
            "/worker.js": "text/javascript",
            "/ort/ort.wasm.min.mjs": "text/javascript",
            "/config.json": "application/json",
            "/style.css": "text/css",
            "/model.onnx": "application/octet-stream",
        }.items():
            answer = client.get(path)
            assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
            assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
        for path in ("/ort/", "/none", "/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"):
            assert client.get(path).status_code == 404
        assert client.post("/").status_code == 501
    assert demo.end(signal.SIGINT) == (0, "")
    assert not list(demo.temporary.iterdir())


def test_sigterm_leaves_nothing_behind_either(demo):
    assert demo.end(signal.SIGTERM) == (0, "")
    assert not list(demo.temporary.iterdir())


def test_a_port_that_is_taken_is_one_line(cache, tones, capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        status, _, error = run(capsys, "demo", "--model", tones, "--port", other.getsockname()[1], "--no-browser")
    assert status == 2
    assert re.fullmatch(r"error: 127\.0\.0\.1:\d+: cannot listen there \(.*\); choose another --port\n", error)


def test_a_site_can_be_saved_for_another_server(cache, tones, tmp_path, capsys):
    cache.mkdir(parents=True)
    (cache / f"onnxruntime-web-{runtime.VERSION}.tgz").write_bytes(package())
    assert run(capsys, "demo", "--model", tones, "--save", tmp_path / "site")[0] == 0
    assert {path.name for path in (tmp_path / "site/ort").iterdir()} == set(runtime.FILES)
    before = (tmp_path / "site/config.json").read_bytes()
    shutil.rmtree(tmp_path / "site")
    write_site(tones, tmp_path / "site")
    assert (tmp_path / "site/config.json").read_bytes() == before
