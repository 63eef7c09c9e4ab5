"""``velocity-asr register``, ``promote`` and ``rollback``: what becomes of the champion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from velocity.commands.gate import gate
from velocity.config.gate import Gate
from velocity.errors import VelocityError
from velocity.gate import Judgement, Verdict
from velocity.registry import NAME, VERDICT, Champions, Registry, one_line_errors, registered
from velocity.registry import register as register_here


@dataclass(frozen=True)
class Registered:
    """Which version this project's model is, if any; what the gate made of it, if it was asked; the aliases."""

    version: str | None
    verdict: str | None
    champions: Champions

    def __str__(self) -> str:
        return f"{NAME} {f'version {self.version}' if self.version else 'not registered'}; {standing(self.champions)}"

    def to_json(self) -> dict[str, Any]:
        return {"version": self.version, "verdict": self.verdict, **asdict(self.champions)}


def register(dry_run: bool = False) -> Registered:
    """Register what this project has exported; with ``dry_run``, only look whether it is.

    Raises VelocityError when reports are missing or old, or the registry does not answer.
    """
    registry = Registry()
    with one_line_errors(registry.uri):
        version = registered(registry) if dry_run else register_here(registry)
        verdict = registry.tags(version).get(VERDICT) if version else None
        return Registered(version, verdict, registry.champions())


def promote(
    version: str | None, names: Sequence[str] | None, limits: Gate, only_better: bool = False
) -> tuple[Judgement, Champions]:
    """Gate a version (default: the challenger) beside the champion; make it the champion if it passes, or if it is
    better.

    The first version has no champion beside it: its size, memory and parity are judged. The verdict is noted with the
    version, the last of all: whoever finds none may ask again.
    Raises VelocityError when there is no such version, or another champion has come in the meantime.
    """
    registry = Registry()
    registry.require()
    with one_line_errors(registry.uri):
        with registry.alone() as now:
            candidate = version or now.challenger
        if candidate is None:
            raise VelocityError(f"{NAME}: no challenger; `velocity-asr register` makes one")
        registry.tags(candidate)
        beside = f"models:/{NAME}/{now.champion}" if now.champion else None
        judgement = gate(f"models:/{NAME}/{candidate}", beside, names, limits)
        if judgement.better if only_better else judgement.verdict is Verdict.PASS:
            registry.promote(candidate, judged_beside=now.champion)
        registry.note_verdict(candidate, judgement.verdict)
        return judgement, registry.champions()


def rollback(leaving: str | None = None) -> Champions:
    """Make the previous champion the champion again; with ``leaving``, only if that version is the champion.

    Raises VelocityError when there was no previous one.
    """
    registry = Registry()
    registry.require()
    with one_line_errors(registry.uri):
        return registry.rollback(leaving)


def standing(champions: Champions) -> str:
    """``champion: version 3, previous: version 2, challenger: none``."""
    return ", ".join(
        f"{alias}: {f'version {number}' if number else 'none'}" for alias, number in vars(champions).items()
    )
