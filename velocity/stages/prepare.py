"""Stage ``prepare``: speaker-disjoint splits, normalised text, tokenizer, feature statistics."""

from __future__ import annotations

from pathlib import Path

from velocity.config import FolderCorpus, load_params
from velocity.data.manifests import read_recordings, read_supervisions
from velocity.data.splits import SPLITS, describe, save_cuts, split_corpus, window_recordings
from velocity.data.statistics import measure_features
from velocity.errors import VelocityError
from velocity.files import atomic_directory, write_json
from velocity.stages import run
from velocity.text import train_tokenizer

OUTPUT = Path("data/prepared")


def main() -> None:
    params = load_params()
    cuts = {"train": [], "validation": []}
    unlabelled = []
    for name, corpus in sorted(params.corpora.items()):
        manifests = Path("data/manifests", name)
        recordings, supervisions = list(read_recordings(manifests)), list(read_supervisions(manifests))
        if isinstance(corpus, FolderCorpus) and not corpus.labelled:
            unlabelled += window_recordings(recordings)
            continue
        parts = split_corpus(recordings, supervisions, name, corpus.test, corpus.validation, params.seed)
        cuts["train"] += parts["train"]
        cuts["validation"] += parts["validation"]
        if parts["test"]:
            cuts[f"test-{name}"] = parts["test"]
    for split in SPLITS:
        if not any(part for name, part in cuts.items() if name.startswith(split)):
            raise VelocityError(
                f"corpora: no corpus gives any utterance for {split}; change a corpus' test or validation"
            )
    cuts["pretrain"] = cuts["train"] + unlabelled

    with atomic_directory(OUTPUT) as folder:
        for name, part in cuts.items():
            save_cuts(part, folder / f"{name}.jsonl")
        texts = [cut.supervisions[0].text for cut in cuts["train"]]
        kind, vocabulary = params.prepare.tokenizer.kind, params.prepare.tokenizer.vocabulary
        tokenizer = train_tokenizer(texts, kind, vocabulary, folder / "tokenizer.model")
        write_json(folder / "features.json", measure_features(cuts["train"], params.threads))
        splits = {name: describe(part) for name, part in cuts.items()}
        write_json(folder / "summary.json", {"splits": splits, "vocabulary": tokenizer.vocabulary})


if __name__ == "__main__":
    run(main)
