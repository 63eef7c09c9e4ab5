"""Stage ``fetch NAME``: bring one corpus of ``params.yaml`` and describe it in Lhotse manifests."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from velocity.config import SyntheticCorpus, load_params
from velocity.corpora.folder import read_folder
from velocity.corpora.synthetic import synthesise_corpus
from velocity.data.manifests import save_manifests
from velocity.errors import VelocityError
from velocity.files import atomic_directory
from velocity.stages import run


def main() -> None:
    params = load_params()
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in params.corpora:
        raise VelocityError(f"fetch: name one of the corpora of params.yaml: {', '.join(params.corpora)}")
    corpus = params.corpora[name]
    raw, manifests = Path("data/raw", name), Path("data/manifests", name)
    shutil.rmtree(manifests, ignore_errors=True)  # a failure must not leave the description of something else

    if isinstance(corpus, SyntheticCorpus):
        with atomic_directory(raw) as folder:
            synthesise_corpus(corpus, params.seed, folder)
        recordings, supervisions, faults = read_folder(name, raw, synthetic=True)
    else:
        recordings, supervisions, faults = read_folder(name, corpus.source, corpus.labelled)
        with atomic_directory(raw) as folder:
            (folder / "SOURCE").write_text(f"{corpus.source}\n", encoding="utf-8")
    save_manifests(recordings, supervisions, faults, manifests)


if __name__ == "__main__":
    run(main)
