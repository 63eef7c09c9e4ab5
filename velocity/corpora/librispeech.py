"""LibriSpeech and Mini LibriSpeech (Panayotov et al. 2015): each part is a folder in the layout that is named after it.

Speakers are called ``librivox:<number>``: Libri-Light's are the same people.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from velocity.corpora.folder import read_folder
from velocity.errors import VelocityError

if TYPE_CHECKING:
    from velocity.config.corpora import LibriSpeechCorpus
    from velocity.corpora.utterances import Manifests


def read_librispeech(name: str, corpus: LibriSpeechCorpus, raw: Path) -> Manifests:
    """As ``read_folder``, of ``<raw>/<part>/LibriSpeech/<part>``.

    Raises VelocityError also for two parts with the same utterance: Mini LibriSpeech is a selection of LibriSpeech.
    """
    recordings, supervisions, faults = [], [], []
    part_of: dict[str, str] = {}
    for part in corpus.parts:
        found, said, faulty = read_folder(name, raw / part / "LibriSpeech" / part)
        for segment in said:
            if (other := part_of.setdefault(segment.id, part)) != part:
                raise VelocityError(f"corpora.{name}: {segment.id} is in {other} and in {part}; take one of them")
            segment.speaker = f"librivox:{segment.speaker}"
            segment.custom["part"] = part
        recordings += found
        supervisions += said
        faults += faulty
    return recordings, supervisions, faults
