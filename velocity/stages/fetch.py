"""Stage ``fetch NAME``: bring one corpus of ``params.yaml`` and describe it in Lhotse manifests."""

from __future__ import annotations

import shutil
import sys

from velocity.config import load_params
from velocity.config.corpora import KINDS
from velocity.data.manifests import save_manifests
from velocity.errors import VelocityError
from velocity.files import atomic_directory
from velocity.project import MANIFESTS, RAW
from velocity.stages import run


def main() -> None:
    params = load_params()
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    if name not in params.corpora:
        raise VelocityError(f"fetch: name one of the corpora of params.yaml: {', '.join(params.corpora)}")
    corpus, raw, manifests = params.corpora[name], RAW / name, MANIFESTS / name
    kind = KINDS[corpus.kind]
    shutil.rmtree(manifests, ignore_errors=True)  # a failure must not leave the description of something else

    with atomic_directory(raw) as folder:
        kind.bring(corpus, params.seed, folder)
    save_manifests(kind.read(name, corpus, raw), manifests)


if __name__ == "__main__":
    run(main)
