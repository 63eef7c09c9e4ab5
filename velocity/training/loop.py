"""The training loop of both stages. Lightning Fabric handles devices and precision; everything else is here.

Every random draw of step k follows from the seed and k: dropout and masks through the seed set at the step, batches and
distortions through their position in the data. So a checkpoint holds that position and no random state, and a resumed
training takes the same path.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from velocity.config.optimisation import Optimisation
from velocity.data.batches import Batch, Position
from velocity.errors import VelocityError
from velocity.progress import Progress
from velocity.training.checkpoint import Checkpoints
from velocity.training.devices import gathered, total
from velocity.training.guard import Guard, advice
from velocity.training.optimiser import averaged, learning_rate, optimisers, weight_average
from velocity.training.state import TrainingState, clone

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOG_EVERY = 10  # steps: the loss in the history is the mean over them


def fit(
    fabric: Fabric,
    objective: nn.Module,
    batches: Callable[[Position], Iterator[Batch]],
    settings: Optimisation,
    seed: int,
    checkpoints: Checkpoints,
    title: str,
    before_step: Callable[[int], None] = lambda step: None,
    validate: Callable[[], dict[str, float]] = dict,
    log: Callable[[dict[str, float]], None] = lambda row: None,
    judge_from: int = 0,
) -> dict[str, Any]:
    """Train ``objective`` in place for ``settings.steps`` steps, resuming from the last of ``checkpoints`` if any.

    ``batches(position)`` yields this process's batches from that position on. ``validate`` runs in the first process,
    on the averaged weights if an average is kept. With ``settings.patience``, validations from ``judge_from`` steps on
    are compared by "wer", then "loss"; training may end early, and ``objective`` gets the weights of the best one.
    ``log`` receives each row of the history, with the speed or with "validation_" before its keys.

    Returns the history: {"training": [row…], "validation": [row…], "audio_seconds": seconds of audio trained on,
    "kept": the validation of the weights that ``objective`` ends with}; rows are dictionaries with "step".
    Raises VelocityError when the loss is not finite or diverges, naming the step, its utterances and how to skip them:
    a checkpoint holds the state before that step.
    """
    average = weight_average(objective, settings.ema).to(fabric.device) if settings.ema else None
    bf16 = fabric.strategy.precision.precision == "bf16-mixed"
    model, *optimizers = fabric.setup(objective, *optimisers(objective, settings, bf16))
    state = TrainingState(objective, optimizers, average, fabric.world_size)
    _resume(fabric, state, checkpoints, title)
    first = fabric.is_global_zero
    for row in (*state.history["training"], *map(_prefixed, state.history["validation"])) if first else ():
        log(row)
    guard = Guard(settings.divergence, state.losses)
    stream = batches(state.position)
    started, seconds_before = time.monotonic(), state.history["audio_seconds"]
    with Progress(title, settings.steps, state.step) if first else nullcontext() as progress:
        for step in range(state.step, settings.steps):
            before_step(step)
            taken = [next(stream).to(fabric.device) for _ in range(settings.accumulate)]
            skipped, rate = step in settings.skip_steps, learning_rate(step, settings)
            if not skipped:
                torch.manual_seed((seed + 7919 * fabric.global_rank) * 1_000_003 + step)
                buffers = clone(dict(objective.named_buffers()))
                loss = backward(fabric, model.train(), taken)
                norm = torch.nn.utils.clip_grad_norm_(objective.parameters(), settings.clip).item()
                if trouble := guard.watch(step, loss, norm, partial(_before, fabric, state, buffers, taken)):
                    suspect, (names, parts) = guard.first
                    if first:
                        checkpoints.save(suspect, *parts)
                    raise VelocityError(advice(title, trouble, suspect, names, settings))
                for optimizer in optimizers:
                    for group in optimizer.param_groups:
                        group["lr"] = rate
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                if average:
                    average.update_parameters(objective)
                state.unlogged.append(loss)
                state.history["audio_seconds"] += total(fabric, sum(b.lengths.sum().item() / 100 for b in taken))

            state.step, state.position = step + 1, taken[-1].position.following()
            last = state.step == settings.steps
            speed = (state.history["audio_seconds"] - seconds_before) / (time.monotonic() - started)
            if (state.step % LOG_EVERY == 0 or last) and not skipped:
                mean = sum(state.unlogged) / len(state.unlogged)
                row = {"step": state.step, "loss": mean, "learning_rate": rate, "gradient_norm": norm}
                state.history["training"].append(row)
                state.unlogged.clear()
                if first:
                    log({**row, "audio_seconds_per_second": speed})
            enough = False
            if state.step % settings.validate_every == 0 or last:
                row = _validated(fabric, state, validate)
                enough = settings.patience > 0 and state.step >= judge_from and state.judge(row) >= settings.patience
                if first:
                    log(_prefixed(row))
            if first:
                due = state.step % settings.checkpoint_every == 0 or state.step == checkpoints.lasting
                if due and not (last or enough or guard.first):
                    checkpoints.save(state.step, *state.parts())
                progress.advance(**({} if skipped else {"loss": loss}), **{"× real time": speed})
            if enough:
                break
    objective.load_state_dict(state.best or state.weights())
    return {**state.history, "kept": state.best_row or state.history["validation"][-1]}


def backward(fabric: Fabric, model: nn.Module, taken: list[Batch]) -> float:
    """Add the gradient of the mean loss over all utterances of ``taken``, in all processes; returns that mean.

    An objective gives the mean over the utterances of a batch. Batches are weighted by their number of utterances, so
    many small ones are equivalent to one large one.
    """
    utterances = total(fabric, sum(len(batch.ids) for batch in taken))
    mean = 0.0
    for batch in taken:
        with fabric.no_backward_sync(model, enabled=batch is not taken[-1]):
            loss = model(batch) * (len(batch.ids) / utterances)
            mean += loss.item()
            fabric.backward(loss * fabric.world_size)  # the processes' gradients are averaged, not added
    return total(fabric, mean)


def _before(fabric: Fabric, state: TrainingState, buffers: dict[str, Tensor], taken: list[Batch]) -> tuple[Any, ...]:
    """The utterances of a step, and the state before it: its forward pass has changed nothing but buffers."""
    return gathered(fabric, [name for batch in taken for name in batch.ids]), copy.deepcopy(state.parts(buffers))


def _resume(fabric: Fabric, state: TrainingState, checkpoints: Checkpoints, title: str) -> None:
    """Every process reads the same checkpoint, in a folder that all machines share."""
    found = checkpoints.restore()
    if len(set(gathered(fabric, [str(found and found[1]["step"])]))) > 1:
        raise VelocityError(f"{checkpoints.path}: differs between processes; put it on storage that all machines share")
    if found is None:
        return
    tensors, remembered = found
    if remembered["processes"] != fabric.world_size:
        raise VelocityError(
            f"{checkpoints.path}: of a training in {remembered['processes']} processes, not {fabric.world_size}: "
            f"restore {title}.optimisation.devices and nodes, or remove that folder to start over"
        )
    state.take(tensors, remembered)
    if fabric.is_global_zero:
        print(f"{title}: goes on from the checkpoint after step {state.step}", flush=True)


def _validated(fabric: Fabric, state: TrainingState, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The new row of the history: the first process validates and broadcasts it."""
    figures = {}
    if fabric.is_global_zero:
        state.model.eval()
        with averaged(state.model, state.average):
            figures = validate()
    row = {"step": state.step, **fabric.broadcast(figures)}
    state.history["validation"].append(row)
    return row


def _prefixed(row: dict[str, float]) -> dict[str, float]:
    return {key if key == "step" else f"validation_{key}": value for key, value in row.items()}
