"""Stage ``prepare``: speaker-disjoint splits, normalised text, tokenizer, feature statistics, shards."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from velocity.config import load_params
from velocity.data.cuts import LEFT_OUT, PRETRAIN, Alignable, Cut, place_cuts, write_splits
from velocity.data.manifests import read_cuts, read_lines
from velocity.data.sharding import write_shards
from velocity.data.shards import INDEX
from velocity.data.splits import SPLITS, Splits
from velocity.data.statistics import measure_features
from velocity.errors import VelocityError
from velocity.files import atomic_directory, write_json
from velocity.project import EXCLUSIONS, MANIFESTS, PREPARED
from velocity.stages import run
from velocity.text import TextTokenizer, train_tokenizer


def main() -> None:
    params = load_params()
    splits = Splits.read(params.corpora, MANIFESTS, params.seed)
    excluded = {line["id"] for line in read_lines(EXCLUSIONS)}

    def placed(alignable: Alignable) -> Iterator[tuple[str, Cut]]:
        for name, corpus in sorted(params.corpora.items()):
            yield from place_cuts(name, corpus, MANIFESTS / name, splits, excluded, alignable)

    with atomic_directory(PREPARED) as folder:
        if params.finetune.base:  # its classes are the base's
            tokenizer = TextTokenizer(Path(params.finetune.base, "tokenizer.model"))
            shutil.copyfile(Path(params.finetune.base, "tokenizer.model"), folder / "tokenizer.model")
        else:
            everything = placed(lambda text, frames: True)
            trained_on = (cut for place, cut in everything if place in ("train", PRETRAIN))
            texts = (spoken["text"] for cut in trained_on for spoken in cut["supervisions"])
            settings = params.prepare.tokenizer
            tokenizer = train_tokenizer(texts, settings.kind, settings.vocabulary, folder / "tokenizer.model")
        stride = params.model.stride
        summary = write_splits(
            placed(lambda text, frames: tokenizer.ctc_frames(text) <= -(-frames // stride)), params.seed, folder
        )
        for split in SPLITS:
            if not any(figures["utterances"] for name, figures in summary["splits"].items() if name.startswith(split)):
                raise VelocityError(
                    f"corpora: no corpus has utterances for the split {split}; change `test` or `validation` of one"
                )
        write_json(folder / "features.json", measure_features(read_cuts(folder / "train.jsonl"), params.threads))
        shared = {"split_by_utterance": splits.by_utterance} if splits.by_utterance else {}
        write_json(folder / "summary.json", {**summary, **shared, "vocabulary": tokenizer.vocabulary})
        if params.prepare.shards.url:
            manifests = [folder / "train.jsonl", folder / "pretrain.jsonl"]
            write_shards(manifests, params.prepare.shards, folder / INDEX, params.threads)
    for name, speakers in splits.by_utterance.items():
        reason = f"too few speakers ({speakers}) to keep apart"
        print(f"prepare {name}: split by utterances, so its splits share speakers: {reason}", file=sys.stderr)
    for name, reasons in summary["left_out"].items():
        counts = ", ".join(f"{reasons[reason]} {reason}" for reason in LEFT_OUT if reason in reasons)
        print(f"prepare {name}: left out {counts}", file=sys.stderr)


if __name__ == "__main__":
    run(main)
