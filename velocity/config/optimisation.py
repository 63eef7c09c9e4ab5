"""How a model is trained: part of the sections ``pretrain`` and ``finetune``."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field

from velocity.config.section import Count, CountOrZero, NotNegative, Positive, Share, section


@section
class Optimisation:
    """How a model is trained. One step hears ``accumulate`` batches of ``batch_seconds`` in each process.

    ``skip_steps``, ``keep_checkpoints`` and ``loaders`` are in no ``repr``, and so in no fingerprint of a checkpoint: a
    training that was stopped goes on from its checkpoint when they change. Of ``steps``, ``warmup`` and ``decay`` the
    fingerprint holds what the steps so far depend on (``velocity.training.optimiser.schedule_before``).
    """

    steps: Count = field(repr=False)
    batch_seconds: Positive
    accumulate: Count  # batches a step
    learning_rate: Positive
    warmup: Share = field(repr=False)  # share of the steps in which the rate rises
    decay: Share = field(repr=False)  # share of the steps, the last ones, in which it falls; in between it stays
    weight_decay: NotNegative
    clip: Positive  # gradient norm
    ema: Annotated[float, Field(ge=0, lt=1)]  # decay a step of the average of the weights that is kept; 0: none
    patience: CountOrZero  # validations without improvement, then the best weights; 0: all steps
    divergence: NotNegative  # times the median loss that stops a training; 0: never
    skip_steps: tuple[CountOrZero, ...] = field(repr=False)  # steps whose batches are passed over
    precision: Literal["auto", "32-true", "bf16-mixed"]  # auto: bf16 where the processor or the GPU computes it
    devices: Count | Literal["auto"]  # processes on a machine, one a GPU; auto: all its GPUs
    nodes: Count  # machines
    loaders: CountOrZero = field(repr=False)  # processes that make batches; 0: threads do
    checkpoint_every: Count  # steps; a killed training goes on from the last one
    keep_checkpoints: Count = field(repr=False)
    validate_every: Count  # steps
