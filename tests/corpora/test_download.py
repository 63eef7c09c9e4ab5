"""Downloads over bad connections: the same bytes in the end, and no file under its final name before it is right."""

import gzip
import hashlib
import random
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora.serving import cut, encoded, refuse, send, serving, stall
from velocity.corpora import download as downloading
from velocity.corpora.archives import Archive, load_archives
from velocity.corpora.download import download
from velocity.errors import VelocityError

DATA = gzip.compress(random.Random(1).randbytes(300_000), mtime=0)
PATH = "/resources/1/speech.tar.gz"


@pytest.fixture
def server():
    with serving() as running:
        running.files[PATH] = DATA
        yield running


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(downloading, "BACK_OFF", 0.001)
    monkeypatch.setattr(downloading, "SILENCE", 0.4)


def archive(server, data=DATA, length=True, algorithm="sha256"):
    digest = (algorithm, hashlib.new(algorithm, data).hexdigest()) if algorithm else None
    return Archive(server.url + PATH, len(data) if length else None, digest)


def leftovers(folder):
    return {path.name.removeprefix("speech.tar.gz") for path in Path(folder).iterdir()} - {".lock"}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("with_etag", [True, False], ids=["etag", "no-etag"])
def test_ten_cuts_at_random_points(server, tmp_path, seed, with_etag):
    points = sorted(random.Random(seed).sample(range(1, len(DATA)), 10))
    server.with_etag = with_etag
    server.behaviours = [cut(after - before) for before, after in zip([0, *points], points, strict=False)]
    seen = []
    server.before = lambda: seen.append((tmp_path / "speech.tar.gz").exists())
    assert download(archive(server), tmp_path).read_bytes() == DATA
    assert [requested for _, requested in server.requests] == [None, *(f"bytes={point}-" for point in points)]
    assert not any(seen)
    assert leftovers(tmp_path) == {""}


@settings(max_examples=25)
@given(st.lists(st.integers(0, 20_000), max_size=5), st.booleans(), st.booleans(), st.booleans())
def test_any_cuts_end_in_the_same_bytes(tmp_path_factory, cuts, with_ranges, with_etag, length):
    data = DATA[:20_000]
    folder = tmp_path_factory.mktemp("cuts")
    with serving() as server:
        server.files[PATH], server.with_ranges, server.with_etag = data, with_ranges, with_etag
        server.behaviours = [cut(after) for after in cuts]
        assert download(archive(server, data, length, "md5"), folder).read_bytes() == data
    assert leftovers(folder) == {""}


def test_a_file_that_changed_meanwhile_is_not_glued_together(server, tmp_path):
    other = DATA[::-1]

    def change():
        if server.requests:
            server.files[PATH] = other

    server.before = change
    server.behaviours = [cut(1000)]
    assert download(archive(server, other), tmp_path).read_bytes() == other


def test_a_stall_is_given_up_and_the_rest_fetched(server, tmp_path, capsys):
    server.behaviours = [stall(5000), send]
    assert download(archive(server), tmp_path).read_bytes() == DATA
    assert server.requests[1] == (PATH, "bytes=5000-")
    assert "trying again" in capsys.readouterr().err


def test_passing_trouble_is_waited_for(server, tmp_path):
    server.behaviours = [refuse(503), refuse(429), cut(0), refuse(500)]
    assert download(archive(server), tmp_path).read_bytes() == DATA


def test_a_dead_server_is_given_up_and_what_came_is_kept(server, tmp_path):
    server.behaviours = [cut(5000)] + [refuse(503)] * downloading.FRUITLESS
    with pytest.raises(VelocityError, match=r"HTTP 503 .*5000 bytes are kept in .*speech\.tar\.gz\.part"):
        download(archive(server), tmp_path)
    assert (tmp_path / "speech.tar.gz.part").read_bytes() == DATA[:5000]
    assert download(archive(server), tmp_path).read_bytes() == DATA
    assert server.requests[-1] == (PATH, "bytes=5000-")


def test_wrong_bytes_are_set_aside_and_named(server, tmp_path):
    server.files[PATH] = DATA[:-1] + bytes([DATA[-1] ^ 1])
    with pytest.raises(VelocityError, match=r"speech\.tar\.gz\.rejected: .* has sha256 [0-9a-f]{64}, published is"):
        download(archive(server), tmp_path)
    assert leftovers(tmp_path) == {".rejected"}
    server.files[PATH] = DATA
    assert download(archive(server), tmp_path).read_bytes() == DATA


def test_a_wrong_length_is_refused_before_anything_is_fetched(server, tmp_path):
    server.files[PATH] = b"<html>please log in</html>"
    with pytest.raises(VelocityError, match=rf"has 26 bytes, the published one {len(DATA)}; name a mirror"):
        download(archive(server), tmp_path)
    assert leftovers(tmp_path) == set()


def test_404_is_final_and_says_what_to_do(server, tmp_path, monkeypatch):
    del server.files[PATH]
    with pytest.raises(VelocityError, match=r"speech\.tar\.gz: HTTP 404 Not Found; name a mirror by .*VELOCITY_MIRROR"):
        download(archive(server), tmp_path)
    monkeypatch.setenv("VELOCITY_MIRROR", server.url)
    with pytest.raises(VelocityError, match=rf"HTTP 404 .*check VELOCITY_MIRROR={server.url}"):
        download(archive(server), tmp_path)
    assert len(server.requests) == 2


@pytest.mark.parametrize("mirror", ["mirror.example.org", "ftp://mirror", "http://a:b"])
def test_a_mirror_that_is_no_address_is_refused_at_once(tmp_path, mirror):
    with pytest.raises(VelocityError, match="speech") as caught:
        download(Archive(f"{mirror}/speech.tar.gz", None, None), tmp_path)
    assert "tries" not in str(caught.value)


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("there", [len(DATA), len(DATA) + 1])
def test_416_as_much_or_more_is_here_than_there(server, tmp_path, there, length):
    (tmp_path / "speech.tar.gz.part").write_bytes((DATA + b"x")[:there])
    assert download(archive(server, length=length), tmp_path).read_bytes() == DATA


def test_what_is_here_is_checked_and_not_fetched_again(server, tmp_path):
    target = tmp_path / "speech.tar.gz"
    target.write_bytes(DATA)
    assert download(archive(server), tmp_path) == target
    assert server.requests == []
    target.write_bytes(DATA[:-1])
    with pytest.raises(VelocityError, match=r"rejected: .* bytes, the published archive"):
        download(archive(server), tmp_path)
    assert not target.exists()


def test_without_a_published_checksum_that_is_said(server, tmp_path, capsys):
    assert download(archive(server, algorithm=None), tmp_path).read_bytes() == DATA
    assert "no checksum is published" in capsys.readouterr().err


def test_an_archive_is_kept_compressed_whatever_the_server_calls_it(server, tmp_path):
    server.behaviours = [encoded]
    assert download(archive(server), tmp_path).read_bytes() == DATA


def test_a_disk_too_small_and_a_full_one(server, tmp_path, monkeypatch):
    (tmp_path / "speech.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(VelocityError, match=r"part: the disk is full; .*the download goes on$"):
        download(archive(server), tmp_path)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(100_000_000))
    with pytest.raises(VelocityError, match=r"speech\.tar\.gz needs 0\.1 GB more, 0\.1 GB are free"):
        download(archive(server), tmp_path / "other")


KILLED = """
import sys
from velocity.corpora.archives import Archive
from velocity.corpora.download import download
download(Archive(sys.argv[1], None, ("sha256", sys.argv[3])), sys.argv[2])
"""


def test_two_at_once_fetch_it_once(server, tmp_path):
    arguments = [sys.executable, "-c", KILLED, server.url + PATH, str(tmp_path), hashlib.sha256(DATA).hexdigest()]
    both = [subprocess.Popen(arguments, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(server.requests) == 1
    assert (tmp_path / "speech.tar.gz").read_bytes() == DATA


TABLE = """
mine:
  base: https://example.org
  archives:
    one: {file: a/one.tar.gz, bytes: 5, md5: ABCD}
    two: {file: a/two.tar.gz}
"""


def test_the_table_and_its_mirror(tmp_path, monkeypatch):
    table = tmp_path / "archives.yaml"
    table.write_text(TABLE)
    monkeypatch.delenv("VELOCITY_MIRROR", raising=False)
    assert load_archives(table, "mine") == {
        "one": Archive("https://example.org/a/one.tar.gz", 5, ("md5", "abcd")),
        "two": Archive("https://example.org/a/two.tar.gz", None, None),
    }
    monkeypatch.setenv("VELOCITY_MIRROR", "http://127.0.0.1:9/")
    assert load_archives(table, "mine", ["two"])["two"].url == "http://127.0.0.1:9/a/two.tar.gz"
    for content, named in (
        (TABLE, "mine has no part 'three'; it has one, two"),
        ("other: {base: b, archives: {}}", "has no archives of mine; it has those of other"),
        ("mine: {base: b, archives: {one: {url: u}}}", r"not a table of archives: mine\.archives\.one"),
        ("mine: [", "not YAML"),
    ):
        table.write_text(content)
        with pytest.raises(VelocityError, match=f"archives.yaml: {named}"):
            load_archives(table, "mine", ["three"])
    with pytest.raises(VelocityError, match="no such file"):
        load_archives(tmp_path / "nowhere.yaml", "mine")


def test_the_official_table_is_sound():
    table = Path(downloading.__file__).with_name("archives.yaml")
    sizes = {"sha256": 64, "md5": 32}
    parts = {"librispeech": 9, "librilight": 3, "ljspeech": 1, "speechocean762": 1}
    for corpus, count in parts.items():
        archives = load_archives(table, corpus)
        assert len(archives) == count
        for found in archives.values():
            assert found.url.startswith("https://")
            assert found.bytes or found.checksum
            if found.checksum:
                assert len(bytes.fromhex(found.checksum[1])) * 2 == sizes[found.checksum[0]]
    assert not load_archives(table, "speechocean762")["speechocean762"].checksum  # none is published
