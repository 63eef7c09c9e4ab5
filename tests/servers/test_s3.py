"""An object store that speaks S3, chosen by settings alone: MLflow's artifacts and training shards."""

from pathlib import Path

import pytest
from s3fs import S3FileSystem

from flows.services import HOST
from tests.data.speech import save_cuts, speak
from tests.exported import export
from tests.servers.conftest import KEYS, free_port
from velocity import VelocityASR
from velocity.config.data import Sharding
from velocity.data.manifests import load_cuts
from velocity.data.sharding import write_shards
from velocity.data.shards import Shards, load_cut
from velocity.errors import VelocityError
from velocity.registry import NAME, Registry, register

SECRET = KEYS["AWS_SECRET_ACCESS_KEY"]
INT8 = Path("models/export/onnx-int8/model.onnx")
pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project with an exported model, in which nothing is registered yet."""
    monkeypatch.chdir(tmp_path)
    export(tmp_path, gain=1.0)
    return tmp_path


def test_mlflow_keeps_its_artifacts_there(s3, project, monkeypatch):
    s3.create("artifacts")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://artifacts/velocity")
    register(Registry())
    assert not list(project.rglob("mlartifacts"))
    names = s3.names("artifacts")
    assert any(name.startswith("velocity/") and name.endswith("onnx-int8/model.onnx") for name in names)
    model = VelocityASR.from_pretrained(f"models:/{NAME}@challenger", quantized=True)
    assert (model.folder / "model.onnx").read_bytes() == INT8.read_bytes()
    assert SECRET.encode() not in Path("mlflow.db").read_bytes()


def test_training_reads_shards_from_there(s3, tmp_path):
    s3.create("speech")
    cuts = speak(tmp_path, 5)
    manifest, index = tmp_path / "train.jsonl", tmp_path / "shards.json"
    save_cuts(cuts, manifest)
    write_shards([manifest], Sharding("s3://speech/shards", 2, "flac", 20.0), index)
    tars = [name for name in s3.names("speech") if name.endswith(".tar")]
    assert tars == [f"shards/train/recording.00000{number}.tar" for number in range(3)]
    shards = Shards(index, 10**9, tmp_path / "cache")
    for cut, original in zip(load_cuts(manifest), cuts, strict=True):
        assert (load_cut(cut, shards) == load_cut(original)).all()
    s3.put("speech", tars[0], b"other bytes")
    with pytest.raises(VelocityError, match=r"^s3://speech/shards/train/recording\.000000\.tar: damaged"):
        load_cut(load_cuts(manifest)[0], Shards(index, 10**9, tmp_path / "other"))


@pytest.mark.parametrize("fault", ["no key", "no server"])
def test_a_store_that_does_not_answer_is_told_in_a_line(s3, tmp_path, monkeypatch, fault):
    S3FileSystem.clear_instance_cache()  # as in a new process
    if fault == "no key":
        for name in KEYS:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("HOME", str(tmp_path))
    else:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{free_port()}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    save_cuts(speak(tmp_path, 2), tmp_path / "train.jsonl")
    with pytest.raises(VelocityError, match=r"^s3://nowhere/shards/") as caught:
        write_shards(
            [tmp_path / "train.jsonl"], Sharding("s3://nowhere/shards", 2, "flac", 20.0), tmp_path / "shards.json"
        )
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
