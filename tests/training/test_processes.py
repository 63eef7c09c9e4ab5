"""What only real processes can show: kills at any moment, and two processes that train one model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.rehearsal import KILLS
from tests.training.tones import write_tones

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, text=True, capture_output=True, timeout=1200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal")
    write_tones(folder, 23)
    run("-m", "tests.training.rehearsal", str(folder))
    return folder


def test_killed_at_twenty_moments_a_training_ends_in_the_same_bytes(rehearsed):
    kills = json.loads((rehearsed / "kills.json").read_text())
    assert len(kills) == KILLS == 20
    assert len({kill["checkpoint"] for kill in kills}) >= 5, "the kills hit many stages of the training"
    for name in ("weights.safetensors", "history.json"):
        assert (rehearsed / "killed" / name).read_bytes() == (rehearsed / "undisturbed" / name).read_bytes()


def test_two_processes_have_the_gradient_of_one(rehearsed):
    one, *two = (load_file(rehearsed / f"{name}.safetensors") for name in ("one-0", "two-0", "two-1"))
    for found in two:
        assert found.keys() == one.keys()
        for name, expected in one.items():
            assert torch.allclose(found[name], expected, rtol=1e-5, atol=1e-6), name


def test_two_processes_train_one_model_and_the_first_speaks(rehearsed):
    first, second = (json.loads((rehearsed / f"two/result-{rank}.json").read_text()) for rank in range(2))
    assert first["history"] == second["history"]
    assert first["history"]["training"][-1]["step"] == 12
    assert (first["validated"], second["validated"]) == (4, 0)
    assert (first["logged"], second["logged"]) == (6, 0)
    first, second = (load_file(rehearsed / f"two/weights-{rank}.safetensors") for rank in range(2))
    for name, tensor in first.items():
        if name.endswith(".range"):  # of the first process before each step; both have gone on with their own batch
            assert torch.allclose(tensor, second[name], rtol=0.01), name
        else:
            assert torch.equal(tensor, second[name]), name
    assert len(list((rehearsed / "two/models/checkpoints/t").iterdir())) == 2


def two_processes(folder: Path, *lines: str) -> dict[str, str]:
    """Run ``lines`` in two processes that ``fabric`` started; file → text of what they write into ``folder``."""
    program = folder / "program.py"
    start = (
        "import torch",
        "from pathlib import Path",
        "from velocity.config.optimisation import Optimisation",
        "from velocity.config.reader import default_section",
        "from velocity.training import devices, muon",
        "devices.set_determinism(1)",
        "fabric = devices.start(default_section('finetune.optimisation', Optimisation, devices=2))",
        "result = Path(__file__).with_name(f'rank-{fabric.global_rank}')",
    )
    program.write_text("\n".join((*start, *lines)))
    run(str(program))
    return {path.name: path.read_text() for path in folder.glob("rank-*")}


def test_one_setting_starts_two_processes(tmp_path):
    found = two_processes(
        tmp_path,
        "ranks = devices.gathered(fabric, [str(fabric.global_rank)])",
        "found = fabric.world_size, torch.get_num_threads(), devices.total(fabric, 0.5), *ranks",
        "result.write_text(' '.join(map(str, found)))",
    )
    assert found == {"rank-0": "2 1 1.0 0 1", "rank-1": "2 1 1.0 0 1"}


def test_processes_share_the_work_of_the_optimiser(tmp_path):
    """Whoever computes a matrix, every process steps by the same numbers as one alone."""
    found = two_processes(
        tmp_path,
        "torch.manual_seed(0)",
        "matrices = [torch.randn(m, n) for m, n in ((8, 3), (4, 9), (5, 5))]",
        "computed, alone = [], [muon.orthogonal(matrix) for matrix in matrices]",
        "counted = lambda matrix: computed.append(matrix) or muon.orthogonal(matrix)",
        "same = all(a.equal(b) for a, b in zip(muon.orthogonalised(matrices, counted), alone, strict=True))",
        "result.write_text(f'{same} {len(computed)}')",
    )
    assert found == {"rank-0": "True 2", "rank-1": "True 1"}
