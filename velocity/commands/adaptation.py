"""The training of an adaptation: the stages of the project's own pipeline, in the workspace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import velocity
from velocity.adaptation.speech import FOLDS, TRAIN, Parts, total, write_parts
from velocity.adaptation.workspace import Workspace
from velocity.commands.profile import merge
from velocity.config import parse_params
from velocity.config.reader import SHIPPED, read_params
from velocity.errors import VelocityError
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.files import atomic_directory, write_json
from velocity.project import ACCEPTED, FINETUNED, PARAMS, test_manifests
from velocity.run import prepare_child

PACKAGE = Path(velocity.__file__).parent
OVERLAY = PACKAGE / "adaptation" / "params.yaml"
CORPUS = "speech"
STAGES = ("fetch", "validate", "prepare", "finetune")
TRAINED_A_SECOND = 20.0  # of speech, by a training of the 4 M-parameter model on two cores
MOST_EPOCHS = 40  # little speech is not repeated more often, however much time there is
FEWEST_STEPS = 20


def fold_step(stage: str, fold: int) -> str:
    """The name of a step, as it is announced."""
    return f"fold {fold} of {FOLDS}, {stage}"


def train(
    workspace: Workspace, fold: int, parts: Parts, base: Path, model: Mapping[str, Any], minutes: float
) -> tuple[Path, list[Utterance]]:
    """Train ``base``, whose settings are ``model``, on the ``parts`` of a fold; return the weights, and the utterances
    that are held out.

    Raises VelocityError with the error of a stage.
    """
    folder = workspace.folder / f"fold-{fold}"
    workspace.step(fold_step("speech", fold), partial(_lay_out, folder, parts, base, model, minutes))
    for stage in STAGES:
        step = fold_step(stage, fold)
        workspace.announce(step)
        arguments = [CORPUS] if stage == "fetch" else []
        workspace.step(step, partial(_run_stage, folder, stage, *arguments))
    (manifest,) = test_manifests(folder)
    return folder / FINETUNED, load_test_set(str(manifest))[1]


def _lay_out(folder: Path, parts: Parts, base: Path, model: Mapping[str, Any], minutes: float) -> None:
    """The project that the stages work in: the speech, params.yaml, and nothing accepted yet to compare it with."""
    folder.mkdir(exist_ok=True)
    with atomic_directory(folder / CORPUS) as speech:
        write_parts(parts, speech)
    write_json(folder / ACCEPTED, {})
    params = read_params(SHIPPED)
    list(merge(params, read_params(OVERLAY)))
    params["corpora"] = {
        # Absolute, as the test set is read from another folder.
        CORPUS: {"kind": "folder", "source": str((folder / CORPUS).resolve()), "test": "^test_", "validation": "^val"}
    }
    params["model"] = {key: value for key, value in model.items() if key != "vocabulary"}
    params["prepare"]["tokenizer"]["kind"] = "bpe"  # for validate: it counts labels by words; prepare has the tokenizer
    params["finetune"]["base"] = str(base)
    optimisation = params["finetune"]["optimisation"]
    optimisation["steps"] = steps(minutes, total(parts[TRAIN]), optimisation["batch_seconds"] * optimisation["devices"])
    parse_params(params, str(OVERLAY))
    write_json(folder / PARAMS, params)  # JSON is YAML


def steps(minutes: float, train_seconds: float, step_seconds: float) -> int:
    """Of the training: about what ``minutes`` suffice for; the same on every machine, so that results are the same."""
    trained = min(60 * minutes * TRAINED_A_SECOND, MOST_EPOCHS * train_seconds)
    return max(FEWEST_STEPS, round(trained / step_seconds))


def _run_stage(folder: Path, stage: str, *arguments: str) -> None:
    """Run a stage in ``folder``; pass on what it prints. Raises VelocityError with its error, naming the folder."""
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", f"velocity.stages.{stage}", *arguments]
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=prepare_child,
    )
    failure = ""
    try:
        for line in process.stdout:
            if line.startswith("error: "):
                failure = line.removeprefix("error: ").strip()
            else:
                print(line, end="", file=sys.stderr, flush=True)
        status = process.wait()
    finally:
        process.kill()
    if status:
        raise VelocityError(f"{folder}: {failure or f'the stage {stage} failed with status {status}; see above'}")
