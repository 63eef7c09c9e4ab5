"""Writing a training set as Lhotse Shar shards: shard by shard, the same bytes each time, the index last."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from velocity.audio import SAMPLE_RATE
from velocity.config.data import Sharding
from velocity.data.manifests import count_lines, to_line
from velocity.data.parts import part_key
from velocity.data.shards import INDEX, Store, load_cut
from velocity.files import atomic_path, write_json
from velocity.progress import Progress

if TYPE_CHECKING:
    from lhotse import MonoCut

VERSION = 1  # of what a shard holds

Files = dict[str, dict[str, Any]]  # name in the store → {"bytes", "sha256", "utterances"}


def write_shards(manifests: Sequence[Path], settings: Sharding, index: Path, threads: int = 2) -> None:
    """Put the audio of training manifests into shards; their cuts then point there, and ``index`` says what is there.

    Shards that an interrupted run finished are left alone, by a record of the cuts and the audio files they were made
    from. The same input gives the same bytes. Manifests of equal content share their shards.
    Raises VelocityError when audio or the store cannot be read.
    """
    store = Store(settings.url)
    store.remove(INDEX)  # what follows is valid again once it is whole
    files: Files = {}
    written: dict[str, Path] = {}
    for manifest in manifests:
        with open(manifest, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        if content in written:
            shutil.copyfile(written[content], manifest)
            continue
        written[content] = manifest
        files |= _write_set(manifest, settings, store, threads)
    described = {"url": settings.url, "audio": settings.audio, "files": files}
    store.write_json(INDEX, described)
    write_json(index, described)


def _write_set(manifest: Path, settings: Sharding, store: Store, threads: int) -> Files:
    """Replaces ``manifest`` at the end; returns {name: {"bytes", "sha256", "utterances"}} of its files."""
    from lhotse import MonoCut

    files: Files = {}
    total = -(-count_lines(manifest) // settings.shard_size)
    with (
        open(manifest, encoding="utf-8") as lines,
        atomic_path(manifest) as partial,
        open(partial, "w", encoding="utf-8", newline="\n") as output,
        ThreadPoolExecutor(threads) as pool,
        Progress(f"shards of {manifest.stem}", total) as progress,
    ):
        for number in range(total):
            taken = list(islice(lines, settings.shard_size))
            cuts = [MonoCut.from_dict(json.loads(line)) for line in taken]
            shard = Shard(manifest.stem, number, cuts, settings.audio)
            key = part_key(f"shard {VERSION} {settings.audio}", taken)
            record = store.read_json(shard.record)
            if record is None or record["key"] != key or not _complete(store, record["files"]):
                record = {"key": key, "files": shard.write(store, pool)}
                store.write_json(shard.record, record)
            files |= record["files"]
            output.writelines(to_line(cut.to_dict()) for cut in shard.pointing_cuts())
            progress.advance()
    for name in store.names(manifest.stem):
        if name not in files:  # of an earlier, larger set
            store.remove(name)
    return files


def _complete(store: Store, files: Files) -> bool:
    return all(store.size(name) == file["bytes"] for name, file in files.items())


@dataclass(frozen=True)
class Shard:
    """Some cuts on their way into the shard ``number`` of a set."""

    set: str
    number: int
    cuts: list[MonoCut]
    audio: str

    @property
    def record(self) -> str:
        return f"done/{self.set}.{self.number:06d}.json"

    @property
    def tar(self) -> str:
        return f"{self.set}/recording.{self.number:06d}.tar"

    def write(self, store: Store, pool: ThreadPoolExecutor) -> Files:
        """Encode the audio and put both files into the store; returns their part of the index."""
        from lhotse.shar.utils import to_shar_placeholder
        from lhotse.shar.writers.tar import TarWriter

        cuts = list(self._shard_cuts(""))
        names = {"cuts": f"{self.set}/cuts.{self.number:06d}.jsonl.gz", "recording": self.tar}
        with TemporaryDirectory() as folder:
            paths = {kind: Path(folder, kind) for kind in names}
            with open(paths["cuts"], "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as compressed:
                compressed.writelines(to_line(cut.to_dict()).encode() for cut in cuts)
            with TarWriter(str(paths["recording"]), shard_size=None) as tar:
                encoded = pool.map(lambda cut: encode(load_cut(cut), self.audio), self.cuts)
                for cut, audio in zip(cuts, encoded, strict=True):
                    tar.write(f"{cut.id}.{self.audio}", io.BytesIO(audio))
                    placeholder = to_shar_placeholder(cut.recording)
                    tar.write(f"{cut.id}.json", io.BytesIO(to_line(placeholder.to_dict()).encode()), count=False)
            files = {}
            for kind, name in names.items():
                with open(paths[kind], "rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                files[name] = {"bytes": paths[kind].stat().st_size, "sha256": digest, "utterances": len(cuts)}
                store.put(paths[kind], name)
        return files

    def pointing_cuts(self) -> Iterator[MonoCut]:
        """The cuts as the training manifest has them, each naming its shard and its member of that."""
        for cut in self._shard_cuts(self.tar):
            cut.recording.sources[0].source += f"#{cut.id}.{self.audio}"
            yield cut

    def _shard_cuts(self, source: str) -> Iterator[MonoCut]:
        """The cuts with recordings that hold them and no more, 16 kHz and one channel, as ``load_cut`` gives them."""
        from lhotse.audio import AudioSource

        for cut in self.cuts:
            recording = replace(
                cut.recording,
                sources=[AudioSource("shar", [0], source)],
                sampling_rate=SAMPLE_RATE,
                num_samples=round(cut.duration * SAMPLE_RATE),
                duration=cut.duration,
                channel_ids=[0],
            )
            yield replace(cut, start=0.0, channel=0, recording=recording)


def encode(samples: np.ndarray, audio: str) -> bytes:
    """(samples,) float32 at 16 kHz as FLAC, 16-bit and lossless for what was 16-bit, or as Opus (about 30 kbit/s)."""
    import soundfile

    file = io.BytesIO()
    if audio == "opus":
        soundfile.write(file, samples, SAMPLE_RATE, format="OGG", subtype="OPUS")
        return _fix_serial_number(file.getvalue())
    integers = np.clip(np.round(samples * 32768.0), -32768, 32767).astype(np.int16)  # libsndfile multiplies by 32767
    soundfile.write(file, integers, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _fix_serial_number(ogg: bytes) -> bytes:
    """libsndfile draws the serial number of an Ogg stream from the clock: 0 instead, checksums to match (RFC 3533)."""
    data, start = bytearray(ogg), 0
    while start < len(data):
        segments = data[start + 26]
        end = start + 27 + segments + sum(data[start + 27 : start + 27 + segments])
        data[start + 14 : start + 18] = data[start + 22 : start + 26] = bytes(4)
        checksum = 0
        for byte in memoryview(data)[start:end]:
            checksum = (checksum << 8 & 0xFFFFFFFF) ^ OGG_CRC[checksum >> 24 ^ byte]
        data[start + 22 : start + 26] = checksum.to_bytes(4, "little")
        start = end
    return bytes(data)


def _crc_table(polynomial: int) -> list[int]:
    table = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = value << 1 & 0xFFFFFFFF ^ (polynomial if value >> 31 else 0)
        table.append(value)
    return table


OGG_CRC = _crc_table(0x04C11DB7)
