"""A training that goes astray: how it is noticed, and what its user is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Any

from velocity.config.optimisation import Optimisation

WINDOW = 100  # steps whose median loss is the measure
LEAST = 20  # losses before a new one can be judged
FLOOR = 0.05  # of the median: losses below are noise, ten times as much is still a good loss
IN_A_ROW = 10  # steps that a loss must stay too high: one bad batch is no divergence
NAMED = 8  # utterances of a step


class Guard:
    """Suspects each step whose loss is more than ``ratio`` times the median of the well ones before it (0: none is).

    ``losses`` is the memory that a checkpoint keeps: the last ``WINDOW`` losses of steps that were well. ``first`` is
    the first of the suspect steps that reach up to now, and what ``before`` gave at it; None while all is well.
    """

    def __init__(self, ratio: float, losses: list[float]) -> None:
        self.ratio, self.losses = ratio, losses
        self.first: tuple[int, Any] | None = None

    def watch(self, step: int, loss: float, gradient_norm: float, before: Callable[[], Any]) -> str | None:
        """Judge a step before its update: what is wrong if the training must stop here, otherwise None."""
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
        return f"the loss at step {step} is {loss:.3g} where {usual:.3g} was usual, and too high since {self.first[0]}"


def advice(title: str, trouble: str, first: int, utterances: list[str], settings: Optimisation) -> str:
    """One line for the user of a training that was stopped, its state before step ``first`` in a checkpoint."""
    named = ", ".join(utterances[:NAMED]) + (" …" if len(utterances) > NAMED else "")
    key, steps = f"{title}.optimisation.skip_steps", ", ".join(map(str, [*settings.skip_steps, first]))
    return (
        f"{title}: {trouble}; the batch of step {first} holds {named}. The state before that step is kept: to go on "
        f"past it, dvc exp run -S '{key}=[{steps}]', or that key in params.yaml and dvc repro. If it happens again, "
        f"lower {title}.optimisation.learning_rate"
    )
