"""Settings of ``finetune.augmentation`` for tests."""

from velocity.config.augmentation import Augmentation, off
from velocity.config.reader import default_section


def augmentation(**changes):
    """The values of params.yaml with ``changes``."""
    return default_section("finetune.augmentation", Augmentation, **changes)


def only(**settings):
    """Every effect off but for ``settings``."""
    return augmentation(**{**off(), **settings})
