"""A real server process on a loopback port, and clients of every kind."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.command import run
from tests.server.clients import BORDER, FORM, PROJECT, Process, answer, form, head, serving
from tests.tone_model import speak, write_model

JOBS, WAITING = 2, 2
GRANULARITIES = "timestamp_granularities[]"
WORDS = {"response_format": "verbose_json", GRANULARITIES: ["word", "segment"]}
LIMITS = ["--jobs", JOBS, "--max-waiting", WAITING, "--max-megabytes", 0.25, "--max-seconds", 40]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "onnx")


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with serving(model, tmp_path_factory.mktemp("server"), *LIMITS) as process:
        yield process
        assert process.left_behind() == set()
        assert process.stop() == 0


def encoded(samples: np.ndarray, container: str = "WAV", subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=container, subtype=subtype)
    return file.getvalue()


@pytest.fixture(scope="module")
def audio(model: Path) -> bytes:
    return encoded(speak("hello world good night", model, pause=0.9))


@pytest.fixture(scope="module")
def long(model: Path) -> bytes:
    """Several passages, with pauses between them."""
    return encoded(speak(" ".join(["hello world"] * 12), model, pause=0.4), "OGG")


@pytest.mark.parametrize("form", ["text", "srt", "vtt", "json"])
def test_the_answer_is_what_the_command_writes(server, model, long, form, tmp_path, capsys) -> None:
    (tmp_path / "a.ogg").write_bytes(long)
    _, written, _ = run(capsys, "transcribe", tmp_path / "a.ogg", "--model", model, "--format", form)
    assert "hello" in written
    if form != "json":
        assert server.transcribe(long, response_format=form).text == written
        return
    given, value = json.loads(written), server.transcribe(long, **WORDS).json()
    assert (value["text"], value["duration"]) == (given["text"], given["seconds"])
    times = lambda words, name: [(word[name], word["start"], word["end"]) for word in words]  # noqa: E731
    assert times(value["words"], "word") == times(given["words"], "text")


def test_words_and_segments_have_times_within_each_other(server, audio) -> None:
    value = server.transcribe(audio, **WORDS).json()
    assert (value["task"], value["language"], value["text"]) == ("transcribe", "english", "hello world good night")
    assert value["duration"] == pytest.approx(soundfile.info(io.BytesIO(audio)).duration, abs=1e-3)
    words, segments = value["words"], value["segments"]
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    assert [segment["id"] for segment in segments] == list(range(len(segments)))
    assert len(segments) > 1  # the pauses are long
    within = []
    for segment in segments:
        inside = [word["word"] for word in words if segment["start"] <= word["start"] and word["end"] <= segment["end"]]
        assert " ".join(inside) == segment["text"]
        assert segment["avg_logprob"] <= 0 <= segment["no_speech_prob"] <= 1
        within += inside
    assert within == [word["word"] for word in words] == value["text"].split()
    assert "words" not in server.transcribe(audio, response_format="verbose_json").json()


def test_a_stream_says_bit_by_bit_what_the_whole_answer_is(server, long) -> None:
    whole = server.transcribe(long).json()["text"]
    response = server.transcribe(long, name="../../etc/päss\0wd", stream="true")
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"transcript.text.delta"}
    assert events[-1] == {"type": "transcript.text.done", "text": whole}
    assert len(events) > 2
    assert "".join(event["delta"] for event in events[:-1]) == whole
    refused = server.transcribe(b"no sound at all", stream="true")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")


def test_the_prompt_holds_hot_words_and_never_a_path(server, audio, tmp_path) -> None:
    (tmp_path / "words.txt").write_text("secret\tnonsense\n")
    for prompt in ("Bob Miller; good\nnight", str(tmp_path / "words.txt"), "1" * 5000 + "st", "ÿ中, \0", "a" * 60_000):
        assert server.transcribe(audio, prompt=prompt).json() == {"text": "hello world good night"}


@pytest.mark.parametrize(
    ("prompt", "phrases"),
    [
        ("Anna, Bob Miller;Zoë.\n", ["anna", "bob miller", "zoe"]),
        ("This is an interview with Anna about trains, Bob", ["bob"]),
        ("room 101, Anna", ["anna"]),
        ("", []),
        (",".join(f"{a}{b}" for a in "abcdefghijkl" for b in "abcdefghijkl"), 100),
    ],
)
def test_what_a_prompt_makes_hot(prompt, phrases) -> None:
    from velocity.server.request import read_hotwords

    found = read_hotwords(prompt)
    assert len(found) == phrases if isinstance(phrases, int) else list(found) == phrases
    assert all(weight > 0 for weight in found.values())


def test_models_and_health(server) -> None:
    listed = server.client.get("/v1/models").json()
    assert [(entry["id"], entry["object"]) for entry in listed["data"]] == [("tones", "model")]
    assert server.client.get("/v1/models/tones").json() == listed["data"][0]
    assert server.client.get("/health").json() == {"status": "ok", "requests": 0, "places": JOBS + WAITING}


@pytest.mark.parametrize("name", ["whisper-1", "gpt-4o-transcribe", "Systran/faster-whisper-tiny", "tones", "中", ""])
def test_clients_may_have_any_name_for_the_model(server, audio, name) -> None:
    """There is one; the answer names it, in every format, and when a client looks the name up before."""
    for fields in ({}, {"response_format": "srt"}, {"response_format": "verbose_json"}, {"stream": "true"}):
        response = server.transcribe(audio, model=name, **fields)
        assert (response.status_code, response.headers["openai-model"]) == (200, "tones")
        assert "hello" in response.text
    assert server.client.get(f"/v1/models/{name or 'x'}").json()["id"] == "tones"


NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000)


def wav(samples: int) -> bytes:
    return encoded(np.zeros(samples, dtype=np.float32))


WRONG = {
    "no audio": ({"audio": b""}, 400, "file", "empty"),
    "a header alone": ({"audio": wav(0)}, 400, "file", "no audio samples"),
    "cut off": ({"audio": encoded(NOISE, "FLAC")[:9_000]}, 400, "file", "cut off or damaged"),
    "not numbers": ({"audio": encoded(np.full(160, np.nan), subtype="FLOAT")}, 400, "file", "NaN"),
    "too long": ({"audio": encoded(np.zeros(41 * 16_000), "FLAC")}, 413, "file", "at most 40 s"),
    "too large": ({"audio": wav(200_000)}, 413, "file", "at most 0.25 MB"),
    "another format": (
        {"audio": b"%PDF-1.7 a paper"},
        400,
        "file",
        "formats that are read: ",
    ),
    "another language": ({"language": "de"}, 400, "language", "'de'"),
    "no such format": ({"response_format": "doc"}, 400, "response_format", "verbose_json"),
    "no temperature": ({"temperature": "hot"}, 400, "temperature", "'hot'"),
    "no granularity": (WORDS | {GRANULARITIES: "phoneme"}, 400, GRANULARITIES[:-2], "word or segment"),
    "words of a text": ({GRANULARITIES: "word"}, 400, GRANULARITIES[:-2], "verbose_json"),
    "a stream of subtitles": ({"stream": "true", "response_format": "srt"}, 400, "stream", "json or text"),
    "an endless field": ({"prompt": "x" * 100_000}, 400, None, "form"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_request_is_told_what_is_wrong_with_it(server, audio, case) -> None:
    fields, status, param, reason = WRONG[case]
    response = server.transcribe(**{"audio": audio, **fields})
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert reason in error["message"]
    assert "\n" not in error["message"]
    assert str(server.folder) not in error["message"]


def test_what_is_no_form(server, audio) -> None:
    client = server.client
    assert client.post(FORM, json={"file": "a.wav"}).status_code == 415
    assert client.post(FORM, content=b"x", headers={"Content-Type": "multipart/form-data"}).status_code == 400
    broken = {"Content-Type": "multipart/form-data; boundary=other"}
    assert client.post(FORM, content=form(audio), headers=broken).json()["error"]["type"] == "invalid_request_error"
    assert client.post(FORM, data={"file": "a.wav"}, files={"x": b"y"}).json()["error"]["param"] == "file"
    assert client.post(FORM, files=[("file", audio), ("file", audio)]).status_code == 400
    assert client.get(FORM).json()["error"]["message"].startswith("Method Not Allowed")
    assert client.get("/v2").status_code == 404


def test_too_much_is_refused_before_it_is_sent_and_while_it_arrives(server) -> None:
    """Without a declared length: what the server takes is the limit and what the network holds, not what is sent."""
    with server.connect() as connection:
        connection.sendall(head(length=10**12))
        assert answer(connection).startswith(b"HTTP/1.1 413")
    body = form(b"").removesuffix(f"\r\n--{BORDER}--\r\n".encode())
    with server.connect() as connection:
        connection.sendall(head(None) + f"{len(body):x}\r\n".encode() + body + b"\r\n")
        for _ in range(8):  # 512 KB
            connection.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        assert answer(connection).startswith(b"HTTP/1.1 413")


def test_clients_that_dribble_take_places_and_block_nobody_else(server, audio) -> None:
    """The last free place serves; with none left the answer is 503, and whoever hangs up makes room."""
    body = form(audio)
    clients = [server.connect() for _ in range(JOBS + WAITING - 1)]
    try:
        for connection in clients:
            connection.sendall(head(len(body)) + body[:5000])
        wait_for(server, JOBS + WAITING - 1)
        assert server.transcribe(audio).json() == {"text": "hello world good night"}
        clients.append(server.connect())
        clients[-1].sendall(head(len(body)) + body[:5000])
        wait_for(server, JOBS + WAITING)
        refused = server.transcribe(audio)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["code"] == "busy"
        clients.pop().close()
        wait_for(server, JOBS + WAITING - 1)
        assert server.transcribe(audio).status_code == 200
        clients[0].sendall(body[5000:])
        assert b"hello world" in answer(clients[0])
    finally:
        for connection in clients:
            connection.close()
    wait_for(server, 0)


def wait_for(server: Process, requests: int) -> None:
    """Until the server reports so many requests."""
    while server.client.get("/health").json()["requests"] != requests:
        time.sleep(0.01)


def test_many_at_once_are_answered_or_told_to_come_back(server, model) -> None:
    spoken = ["hello", "good night", "world", "yes"]
    uploads = [encoded(speak(spoken[n % 4], model)) for n in range(24)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(server.transcribe, uploads))
    assert {answer.status_code for answer in answers} <= {200, 503}
    texts = {n: answer.json()["text"] for n, answer in enumerate(answers) if answer.status_code == 200}
    assert texts
    assert texts == {n: spoken[n % 4] for n in texts}
    wait_for(server, 0)


def test_sigterm_lets_a_request_finish(model, audio, tmp_path) -> None:
    body = form(audio)
    with serving(model, tmp_path) as server, server.connect() as connection:
        connection.sendall(head(len(body)) + body[:5000])
        wait_for(server, 1)
        server.client.close()
        server.process.send_signal(signal.SIGTERM)
        while accepts(server.port):
            time.sleep(0.01)
        connection.sendall(body[5000:])
        received = answer(connection)
        assert received.startswith(b"HTTP/1.1 200")
        assert json.loads(received.split(b"\r\n\r\n", 1)[1]) == {"text": "hello world good night"}
        assert server.process.wait(60) == 0
        assert server.left_behind() == set()
        server.log.seek(0)
        assert "Traceback" not in server.log.read()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


def test_ctrl_c_ends_it_and_a_taken_port_is_said(model, tmp_path, capsys) -> None:
    with serving(model, tmp_path) as server:
        status, _, error = run(capsys, "serve", "--model", model, "--port", server.port)
        assert (status, error.count("\n")) == (2, 1)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) == 0


def test_the_server_loads_the_light_runtime_only() -> None:
    program = "import sys, velocity.server.app; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert not set(loaded.stdout.split()) & {"torch", "lhotse", "mlflow", "pandas", "scipy", "fastapi", "pydantic"}


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["--sockets"]])
def test_mutated_requests(model, way) -> None:
    command = [sys.executable, "benchmarks/fuzz_server.py", "--inputs", "150", "--seed", "1", "--model", str(model)]
    result = subprocess.run([*command, *way], cwd=PROJECT, capture_output=True, text=True, env=None)
    assert result.returncode == 0, result.stdout
    assert result.stdout.startswith("150 inputs of seed 1")
