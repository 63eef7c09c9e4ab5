"""Archives from anywhere: what is good comes out whole, what could leave the folder or fill the disk is named."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.corpora import unpack as unpacking
from velocity.corpora.unpack import unpack
from velocity.errors import VelocityError

COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def tar(*members, compress=bytes):
    """Bytes of a tar file of (name, content or the TarInfo's other fields)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.mtime = 1_500_000_000
            if isinstance(content, bytes):
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            else:
                for field, value in content.items():
                    setattr(member, field, value)
                archive.addfile(member)
    return compress(file.getvalue())


def take_apart(data, folder, name="speech.tar"):
    archive = Path(folder, name)
    archive.write_bytes(data)
    out = Path(folder, "out")
    out.mkdir()
    unpack(archive, out)
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


TREE = [("a/b/one.txt", b"1" * 5000), ("a/two", b""), ("./a/three.flac", bytes(range(256)) * 9), ("ö/ß.txt", b"x")]
FILES = {name.removeprefix("./"): content for name, content in TREE}


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_tar_files_of_every_compression(tmp_path, ending):
    folders = [("a/", {"type": tarfile.DIRTYPE, "mode": 0o700}), ("empty", {"type": tarfile.DIRTYPE})]
    data = tar(*folders, *TREE, compress=COMPRESSIONS[ending])
    assert take_apart(data, tmp_path) == FILES
    assert (tmp_path / "out/empty").is_dir()
    assert (tmp_path / "out/a/two").stat().st_mtime == 1_500_000_000


names = st.lists(
    st.sampled_from(["a", "b", "..", ".", "/", "\\", "C:", "~", "", "x" * 300, "\n", "\u202e", "é", "..."]),
    min_size=1,
    max_size=6,
).map("/".join) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
contents = st.binary(max_size=600) | st.sampled_from(
    [{"type": kind, "linkname": "../../outside"} for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)]
    + [{"type": tarfile.DIRTYPE}, {"type": tarfile.CHRTYPE}]
)


@settings(max_examples=150)
@given(st.lists(st.tuples(names, contents), max_size=5))
def test_whatever_the_members_nothing_is_written_outside(tmp_path_factory, members):
    folder = tmp_path_factory.mktemp("unpack")
    with suppress(VelocityError):
        take_apart(tar(*members), folder)
    assert {path.name for path in folder.iterdir()} == {"speech.tar", "out"}
    for path in folder.rglob("*"):
        assert path.is_dir() or path.is_file()
        assert not path.is_symlink()


LINK = {"type": tarfile.SYMTYPE, "linkname": "elsewhere"}


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("/etc/passwd", b"", "is an absolute path"),
        ("C:/Windows/x", b"", "is an absolute path"),
        ("a/../../x", b"", r"has '\.\.' in its path"),
        ("a\\..\\..\\x", b"", r"has '\.\.' in its path"),
        ("link", LINK, "is a symbolic link"),
        ("link", {"type": tarfile.LNKTYPE, "linkname": "good"}, "is a hard link"),
        ("null", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, "is a device"),
        ("disk", {"type": tarfile.BLKTYPE}, "is a device"),
        ("pipe", {"type": tarfile.FIFOTYPE}, "is a pipe"),
        ("what", {"type": b"Z"}, "is neither file nor folder"),
        ("good", b"twice", "is there twice"),
        ("./good", b"twice", "is there twice"),
        ("good/below", b"", "is there twice"),
        ("good", {"type": tarfile.DIRTYPE}, "is a folder, and was a file before"),
        ("x" * 256, b"", "has a name that is too long"),
        ("/".join(["folder"] * 200), b"", "has a name that is too long"),
        ("new\nline", b"", "has a name with control characters"),
    ],
)
def test_a_bad_member_is_named(tmp_path, name, content, named):
    with pytest.raises(VelocityError, match=named) as caught:
        take_apart(tar(("good", b"good"), (name, content)), tmp_path)
    assert f"speech.tar: member {name!r}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_setuid_and_the_like_are_dropped(tmp_path):
    umask = os.umask(0o022)
    try:
        take_apart(tar(("tool", {"mode": 0o7777, "size": 0})), tmp_path)
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "out/tool").stat().st_mode) == 0o644


def test_bombs_are_refused_before_they_fill_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SMALL", 1 << 20)
    zeros = ("zeros", bytes(30 << 20))
    empty = [(f"{number:05d}", b"") for number in range(5000)]
    header = bytearray(tar(("x", b"")))
    header[124:136] = b"00777777777\0"  # size of the first member: 8 GB
    header[148:156] = f"{sum(header[:148]) + sum(header[156:512]) + 256:06o}\0 ".encode()
    for index, (data, named) in enumerate(
        [
            (tar(zeros, compress=gzip.compress), "'zeros' grows beyond 20 times the archive: a decompression bomb"),
            (tar(*empty, compress=lzma.compress), "'[0-9]{5}' grows beyond 20 times"),
            (bytes(header), "'x' grows beyond 20 times"),
            (
                tar(("x", {"pax_headers": {"comment": "x" * (8 << 20)}}), compress=gzip.compress),
                "more than the headers",
            ),
            (gzip.compress(tar(("x", b"")) + bytes(8 << 20)), "more than the headers"),
        ]
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        with pytest.raises(VelocityError, match=named):
            take_apart(data, folder)
        written = sum(path.stat().st_size for path in (folder / "out").rglob("*"))
        assert written <= 1 << 20


@pytest.mark.parametrize("ending", COMPRESSIONS)
def test_a_cut_archive_is_damaged(tmp_path_factory, ending):
    whole = tar(*TREE, compress=COMPRESSIONS[ending])
    length = len(whole) if ending else len(whole.rstrip(b"\0"))  # what follows in a plain tar file is padding
    for cut in {*range(0, length, 512), length - 1}:
        with pytest.raises(VelocityError, match=r"speech\.tar: damaged.*delete it and run the stage again$"):
            take_apart(whole[:cut], tmp_path_factory.mktemp("cut"))


def test_a_flipped_bit_and_another_kind_of_file_are_damage(tmp_path):
    flipped = bytearray(tar(*TREE, compress=gzip.compress))
    flipped[-6] ^= 1  # of the check sum
    for index, data in enumerate([bytes(flipped), b"", b"<html>please log in</html>" * 40, b"PK\x03\x04 no zip file"]):
        folder = tmp_path / str(index)
        folder.mkdir()
        with pytest.raises(VelocityError, match=r"speech\.tar: damaged"):
            take_apart(data, folder)
