"""``velocity-asr register``, ``promote`` and ``rollback``: what becomes of the champion."""

from __future__ import annotations

from collections.abc import Sequence

from velocity.commands.gate import gate
from velocity.config.gate import Gate
from velocity.errors import VelocityError
from velocity.gate import Judgement, Verdict
from velocity.registry import NAME, Champions, Registry, told_in_one_line
from velocity.registry import register as register_here


def register() -> tuple[str, Champions]:
    """Register what this project has exported; its version, and the aliases as they stand then.

    Raises VelocityError when reports are missing or old, or the registry does not answer.
    """
    registry = Registry()
    with told_in_one_line(registry.uri):
        return register_here(registry), registry.champions()


def promote(version: str | None, names: Sequence[str] | None, limits: Gate) -> tuple[Judgement, Champions]:
    """Gate a version (default: the challenger) beside the champion; make it the champion if it passes.

    The first version has no champion beside it: its size, memory and parity are judged.
    Raises VelocityError when there is no such version, or another champion has come in the meantime.
    """
    registry = Registry()
    with told_in_one_line(registry.uri):
        with registry.alone() as now:
            candidate = version or now.challenger
        if candidate is None:
            raise VelocityError(f"{NAME}: no challenger; `velocity-asr register` makes one")
        registry.tags(candidate)
        beside = f"models:/{NAME}/{now.champion}" if now.champion else None
        judgement = gate(f"models:/{NAME}/{candidate}", beside, names, limits)
        if judgement.verdict is Verdict.PASS:
            return judgement, registry.promote(candidate, judged_beside=now.champion)
        return judgement, registry.champions()


def rollback(leaving: str | None = None) -> Champions:
    """Make the previous champion the champion again; with ``leaving``, only if that version is the champion.

    Raises VelocityError when there was no previous one.
    """
    registry = Registry()
    with told_in_one_line(registry.uri):
        return registry.rollback(leaving)


def standing(champions: Champions) -> str:
    """``champion: version 3, previous: version 2, challenger: none``."""
    return ", ".join(
        f"{alias}: {f'version {number}' if number else 'none'}" for alias, number in vars(champions).items()
    )
