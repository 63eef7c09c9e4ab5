"""Parts of a validation computed over Dask: the stage finds them and computes none of its own."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import Recording
from prefect_dask import DaskTaskRunner

from flows import fanout
from velocity.data import tables
from velocity.data.inspection import measure_recordings
from velocity.data.manifests import save_manifests
from velocity.errors import VelocityError

THREADS = DaskTaskRunner(cluster_kwargs={"processes": False, "n_workers": 1, "dashboard_address": None})

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The current folder: nine short recordings in two corpora, in parts of about two."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(1)
    Path("audio").mkdir()
    for corpus, count in (("mine", 6), ("yours", 3)):
        recordings = []
        for index in range(count):
            path = Path(f"audio/{corpus}-{index}.wav")
            soundfile.write(path, random.normal(0, 0.1, 4000), 16_000)
            recordings.append(Recording.from_file(path, recording_id=f"{corpus}/{index}"))
        save_manifests(recordings, Path("data/manifests", corpus))
    for module in (fanout, tables):
        monkeypatch.setattr(module, "PART", 2)


def test_validation_computes_nothing_that_the_workers_have_computed(project, monkeypatch, capsys):
    flow = fanout.fanout.with_options(task_runner=THREADS)
    count = flow(["mine", "yours"])
    assert count == len(list(Path("data/parts").rglob("*.jsonl"))) > 3
    assert flow(["mine", "yours"]) == 0
    Path("audio/mine-3.wav").write_bytes(Path("audio/mine-2.wav").read_bytes())  # the same manifest, other audio
    assert flow(["mine", "yours"]) == 1

    def refuse(*_, **__):
        raise AssertionError("a part was computed again")

    monkeypatch.setattr(tables, "measure_recordings", refuse)
    folders = {name: Path("data/manifests", name) for name in ("mine", "yours")}
    found = [row for name, folder in folders.items() for row in tables._audio_rows(name, folder, threads=1)]
    lines = [line for folder in folders.values() for line in tables.read_lines(folder / "recordings.jsonl")]
    assert found == measure_recordings(lines, threads=1)

    fanout.main(["mine"])
    assert "every part is there" in capsys.readouterr().out


def test_workers_in_another_folder_and_a_missing_manifest_are_named(project, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        fanout.main(["theirs"])
    assert "data/manifests/theirs/recordings.jsonl: no such file" in capsys.readouterr().err
    part = next(fanout.missing_parts(["mine"]))
    with pytest.raises(VelocityError, match="start the workers in this folder"):
        fanout.finish(part, Done())


class Done:
    """A future whose work was done elsewhere."""

    def result(self):
        return None
