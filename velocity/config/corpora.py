"""The section ``corpora``: name → one of the sections of the kinds of corpora.

The kinds are the modules of ``velocity.corpora.kinds``: one that is added there is known here.
"""

from __future__ import annotations

import re
from functools import reduce
from operator import or_
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import AfterValidator, Field

from velocity.config.section import SpeakerSelection as SpeakerSelection
from velocity.discovery import modules

# By the name that ``kind`` takes in params.yaml.
KINDS: dict[str, Any] = {
    get_args(get_type_hints(module.KIND.section)["kind"])[0]: module.KIND
    for module in modules("velocity.corpora.kinds")
}
Corpus: Any = Annotated[reduce(or_, (kind.section for kind in KINDS.values())), Field(discriminator="kind")]


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ValueError("the name of a corpus may contain only letters, digits, - and _")
    return name


CorpusName = Annotated[str, AfterValidator(_check_name)]
