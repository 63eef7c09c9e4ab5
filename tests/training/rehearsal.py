"""Small trainings in processes of their own: killed and resumed, and two at a time.

    python -m tests.training.rehearsal FOLDER

One process imports everything and forks, before any thread is started, whatever runs; FOLDER holds the tones.
"""

import json
import os
import random
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jiwer  # noqa: F401  (imported here, lest each of the forked processes do so)
import lightning_fabric  # noqa: F401
import torch
from safetensors.torch import save_file

from tests.augmentation import augmentation
from tests.training.tones import made_up, settings, tone_loader, tone_objective
from velocity.model.asr import save_model
from velocity.quantization.linear import set_mode
from velocity.training.checkpoint import Checkpoints
from velocity.training.devices import set_determinism, start
from velocity.training.loop import backward, fit
from velocity.training.scoring import validation_scores

STEPS, KILLS, MOST = 40, 20, 3  # a killed training takes up to MOST steps more: it cannot end before the last kill
PAUSE = 0.05  # seconds: a kill comes that late, or any time before, after a step began


def forked(program: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        program()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(folder: Path, manifest: Path, began: Callable[[int], None] = lambda step: None) -> None:
    """A training with all that a checkpoint has to hold: dropout, noise, quantisation, an average, the best weights."""
    os.chdir(folder)
    set_determinism(1)
    chosen = settings(
        STEPS, batch_seconds=2.0, accumulate=2, ema=0.9, patience=50, validate_every=7, checkpoint_every=2
    )
    loader, objective = tone_loader(manifest, augmentation(noise=0.5)), tone_objective(manifest)
    held_out = [next(loader.training(manifest, 2.0))]

    def before(step: int) -> None:
        began(step)
        set_mode(objective.model, "fake" if step >= STEPS // 2 else "observe")

    history = fit(
        start(chosen),
        objective,
        lambda position: loader.training(manifest, 2.0, position),
        chosen,
        1,
        Checkpoints("t", lambda step: "f" * 16),
        "tones",
        before_step=before,
        validate=lambda: validation_scores(objective, held_out, loader.tokenizer),
    )
    save_model(objective.model, "weights.safetensors")
    Path("history.json").write_text(json.dumps(history))


def kill_and_resume(folder: Path, manifest: Path) -> None:
    """Leave FOLDER/undisturbed and FOLDER/killed, and in kills.json the step and delay of each kill."""
    for name in ("undisturbed", "killed"):
        (folder / name).mkdir()
    assert ended(forked(lambda: train(folder / "undisturbed", manifest))) == 0
    draw, kills = random.Random(2), []
    for _ in range(KILLS):
        steps, delay = draw.randint(0, MOST), draw.uniform(0, PAUSE)
        reading, writing = os.pipe()
        child = forked(lambda writing=writing: train(folder / "killed", manifest, lambda _: os.write(writing, b".")))
        os.close(writing)
        for _ in range(steps):
            select.select([reading], [], [], 60)
            assert os.read(reading, 1) == b".", "it ended before it was killed"
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        os.close(reading)
        found = sorted((folder / "killed/models/checkpoints/t").glob("[0-9]*"))
        kills.append({"steps": steps, "delay": delay, "checkpoint": int(found[-1].name[:8]) if found else 0})
    assert ended(forked(lambda: train(folder / "killed", manifest))) == 0
    (folder / "kills.json").write_text(json.dumps(kills))


def gradients(folder: Path, manifest: Path, name: str) -> None:
    """The gradient of one step, with unequal batches: in two processes, or the same utterances in one."""
    fabric = start(settings(1))
    objective = tone_objective(manifest, quantised=False, dropout=0.0)
    model = fabric.setup(objective)
    parts = [[made_up(5, 1), made_up(1, 2)], [made_up(2, 3), made_up(3, 4)]]
    taken = parts[fabric.global_rank] if fabric.world_size > 1 else parts[0] + parts[1]
    loss = backward(fabric, model.train(), taken)
    found = {key: weight.grad.contiguous() for key, weight in objective.named_parameters() if weight.grad is not None}
    save_file(found | {"loss": torch.tensor(loss)}, folder / f"{name}-{fabric.global_rank}.safetensors")


def two_processes(folder: Path, manifest: Path) -> None:
    """A whole training in two processes, through several epochs of 23 utterances: their batches do not go round."""
    workspace = folder / "two"
    workspace.mkdir(exist_ok=True)
    os.chdir(workspace)
    set_determinism(1)
    chosen = settings(12, batch_seconds=3.0, ema=0.9, patience=9, validate_every=3, checkpoint_every=4)
    fabric = start(chosen)
    loader, objective = tone_loader(manifest), tone_objective(manifest)
    held_out = [next(loader.training(manifest, 3.0))]
    validated, logged = [], []
    place = fabric.global_rank, fabric.world_size
    history = fit(
        fabric,
        objective,
        lambda position: loader.training(manifest, 3.0, position, *place),
        chosen,
        1,
        Checkpoints("t", lambda step: "f" * 16),
        "tones",
        validate=lambda: validated.append(1) or validation_scores(objective, held_out, loader.tokenizer),
        log=logged.append,
    )
    result = {"history": history, "validated": len(validated), "logged": len(logged)}
    save_model(objective.model, f"weights-{fabric.global_rank}.safetensors")
    Path(f"result-{fabric.global_rank}.json").write_text(json.dumps(result))


def together(program: Callable[[], None]) -> None:
    """Run it in two processes that find each other as torchrun lets them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"TORCHELASTIC_RUN_ID": "t", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
              "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # fmt: skip

    def one(rank: int) -> None:
        os.environ.update(shared, RANK=str(rank), LOCAL_RANK=str(rank))
        program()

    children = [forked(lambda rank=rank: one(rank)) for rank in range(2)]
    assert [ended(child) for child in children] == [0, 0]


if __name__ == "__main__":
    place = Path(sys.argv[1])
    tones = place / "train.jsonl"
    kill_and_resume(place, tones)
    assert ended(forked(lambda: gradients(place, tones, "one"))) == 0
    together(lambda: gradients(place, tones, "two"))
    together(lambda: two_processes(place, tones))
