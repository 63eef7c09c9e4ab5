"""The sections ``augmentation``: the settings of all effects side by side.

The effects are the modules of ``velocity.data.augmentation``: one that is added there is part of the section.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from velocity.config.section import section
from velocity.discovery import modules

EFFECTS: list[Any] = sorted(
    (module.EFFECT for module in modules("velocity.data.augmentation")), key=lambda effect: effect.order
)


def _check(self: Any) -> None:
    for effect in EFFECTS:
        effect.check(self)


# A class that inherits the fields of every effect, and so is each of them.
Augmentation: Any = section(
    type("Augmentation", tuple(reversed(EFFECTS)), {"__module__": __name__, "__post_init__": _check})
)
AugmentationOrOff = Annotated[Augmentation | None, BeforeValidator(lambda value: None if value == "off" else value)]


def off() -> dict[str, Any]:
    """The keys and values that switch every effect off."""
    return {key: value for effect in EFFECTS for key, value in effect.off.items()}
