"""Detects a diverging training and says what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

from velocity.config.optimisation import Optimisation

WINDOW = 100  # steps whose median loss is the measure
LEAST = 20  # losses needed before a new one can be judged
FLOOR = 0.05  # of the median: losses below are noise, ten times as much is still a good loss
IN_A_ROW = 10  # steps that a loss must stay too high: one bad batch is no divergence
NAMED = 8  # utterances of a step


class Guard:
    """Suspects each step whose loss is more than ``ratio`` times the median of the normal ones before it (0: never).

    ``losses`` is part of a checkpoint: the last ``WINDOW`` normal losses. ``first`` is the start of the current run of
    suspect steps, and what ``before`` returned then; None while all is normal.
    """

    def __init__(self, ratio: float, losses: list[float]) -> None:
        self.ratio, self.losses = ratio, losses
        self.first: tuple[int, Any] | None = None

    def watch(self, step: int, loss: float, gradient_norm: float, before: Callable[[], Any]) -> str | None:
        """Judge a step before its update: the reason to stop the training here, otherwise None."""
        usual = max(FLOOR, median(self.losses)) if len(self.losses) >= LEAST else math.inf
        high = self.ratio > 0 and loss > self.ratio * usual
        if math.isfinite(loss) and math.isfinite(gradient_norm) and not high:
            self.losses.append(loss)
            del self.losses[:-WINDOW]
            self.first = None
            return None
        self.first = self.first or (step, before())
        if not math.isfinite(loss):
            return f"the loss at step {step} is not a number"
        if not math.isfinite(gradient_norm):
            return f"the gradient at step {step} is not finite"
        if step - self.first[0] + 1 < IN_A_ROW:
            return None
        since = self.first[0]
        return f"the loss at step {step} is {loss:.3g}, usually {usual:.3g}, and has been too high since step {since}"


def advice(title: str, trouble: str, first: int, utterances: list[str], settings: Optimisation) -> str:
    """One line for the user of a training that was stopped; a checkpoint holds its state before step ``first``."""
    named = ", ".join(utterances[:NAMED]) + (" …" if len(utterances) > NAMED else "")
    key, steps = f"{title}.optimisation.skip_steps", ", ".join(map(str, [*settings.skip_steps, first]))
    return (
        f"{title}: {trouble}; the batch of step {first} holds {named}. The state before that step is saved. To skip "
        f"the step: dvc exp run -S '{key}=[{steps}]', or set that key in params.yaml and dvc repro. If it happens "
        f"again, lower {title}.optimisation.learning_rate"
    )
