"""Checkpoints: the last K, each whole or skipped, none lost to a full disk, none of another training."""

import resource
import shutil
from pathlib import Path

import pytest
import torch

from velocity.training.checkpoint import Checkpoints, fingerprint


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"a": torch.full((5000,), float(step))}, "optimizer": {"0.step": torch.tensor(1.0)}}


def saved(steps: list[int], keep: int = 2, of: str = "one") -> Checkpoints:
    checkpoints = Checkpoints("x", lambda step: fingerprint([of]), keep)
    for step in steps:
        assert checkpoints.save(step, tensors(step), {"step": step})
    return checkpoints


def restored(checkpoints: Checkpoints) -> int | None:
    found = checkpoints.restore()
    if found is None:
        return None
    groups, state = found
    assert torch.equal(groups["model"]["a"], tensors(state["step"])["model"]["a"])
    return state["step"]


def folders() -> list[Path]:
    return sorted(Path("models/checkpoints/x").iterdir())


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_are_kept(keep):
    checkpoints = saved([2, 4, 6, 8], keep)
    assert [int(path.name[:8]) for path in folders()] == [2, 4, 6, 8][-keep:]
    assert restored(checkpoints) == 8


def test_of_another_training_is_not_resumed_and_makes_room():
    saved([900])
    assert Checkpoints("x", lambda step: fingerprint(["two"])).restore() is None
    checkpoints = saved([4], of="two")
    assert restored(checkpoints) == 4
    assert len(folders()) == 1


DAMAGE = {
    "cut short": lambda folder: shorten(folder / "model.safetensors"),
    "one bit": lambda folder: flip(folder / "optimizer.safetensors"),
    "state": lambda folder: (folder / "state.json").write_text('{"step": 4, "finger'),
    "half deleted": lambda folder: (folder / "model.safetensors").unlink(),
    "nearly deleted": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "checksums": lambda folder: (folder / "checksums.json").write_text("{"),
}


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_skipped(damage, capsys):
    checkpoints = saved([2, 4])
    DAMAGE[damage](folders()[-1])
    assert restored(checkpoints) == 2
    (line,) = capsys.readouterr().out.splitlines()
    assert "00000004" in line
    assert "damaged" in line
    saved([3], keep=1)
    assert [int(path.name[:8]) for path in folders()] == [3], "the damaged one is never kept instead of a whole one"
    assert restored(checkpoints) == 3


def test_a_full_disk_leaves_the_older_ones(capsys):
    checkpoints = saved([2, 4])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # no file may grow beyond
    try:
        written = checkpoints.save(6, tensors(6), {"step": 6})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not written
    assert "no checkpoint after step 6" in (output := capsys.readouterr().out)
    assert "the one after step 4 is kept" in output
    assert [int(path.name[:8]) for path in folders()] == [2, 4]
    assert restored(checkpoints) == 4
    assert checkpoints.save(6, tensors(6), {"step": 6})
    assert restored(checkpoints) == 6


def test_what_a_killed_process_left_half_written_is_removed():
    checkpoints = saved([2])
    leftover = Path("models/checkpoints/x/.00000004-abc.123.partial")
    leftover.mkdir()
    assert restored(checkpoints) == 2
    saved([4])
    assert not leftover.exists()


def test_fingerprint_tells_apart_what_joins_to_the_same_text():
    assert fingerprint(["ab", "c"]) != fingerprint(["a", "bc"])
