"""What stage 1 is worth when few minutes of speech have transcripts.

    python -m flows.pipeline prepare
    python benchmarks/pretraining.py --arms random supervised --minutes 30 --seeds 1 2 --out build/pretraining

It runs in a project whose data are prepared. Each arm fine-tunes the same small network in floating point, for the same
number of steps, on the first ``--minutes`` of the training utterances, from weights that stage 1 made: by no objective
(``random``), or by one of `pretrain.objective` on all of ``pretrain.jsonl``, in which no other training utterance has a
transcript. The word error rates are of every second utterance of all test sets, with the phones, the lexicon and the
language model, beside those of the first arm (paired intervals over utterances, 95 %). An arm that is there already is
only scored.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, repeat
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from ruamel.yaml import YAML

from velocity.data.manifests import read_lines
from velocity.evaluation.wer import bootstrap, score
from velocity.project import FINETUNED, PREPARED, PRETRAIN, RAW, TRAIN, test_manifests

SMALL = {"dim": 128, "ffn": 256, "state": 32, "context_state": 32, "attention_head_dim": 32, "phones": True}
STEPS = {"devices": 1, "batch_seconds": 24, "learning_rate": 0.002, "warmup": 0.05, "decay": 0.7, "ema": 0.998}
LANGUAGE_MODEL = Path("velocity/pretrained/english.lm")
PARTS = 4  # of the test utterances, decoded in two processes


def train(folder: Path, arm: str, seed: int, minutes: float, stage_1: int, stage_2: int) -> None:
    """Leave the fine-tuned weights in ``folder``, if they are not there."""
    if (folder / FINETUNED).exists():
        return
    yaml = YAML(typ="safe")
    params = yaml.load(Path("params.yaml"))
    params["seed"], effects = seed, params["finetune"]["augmentation"]
    params["model"].update(SMALL)
    params["pretrain"].update(objective="spectrogram" if arm == "random" else arm)
    params["pretrain"]["optimisation"].update(STEPS, steps=stage_1)
    params["pretrain"]["supervised"].update(augmentation_ramp=3, augmentation=effects)
    params["finetune"].update(qat=False, augmentation_ramp=8, start_from="random" if arm == "random" else "pretrained")
    params["finetune"]["optimisation"].update(STEPS, steps=stage_2)
    (folder / PREPARED).mkdir(parents=True, exist_ok=True)
    yaml.dump(params, folder / "params.yaml")
    for path in PREPARED.iterdir():
        if path.name not in (TRAIN.name, PRETRAIN.name):
            _link(folder, path)
    sources = [corpus["source"] for corpus in params["corpora"].values()]
    sources += filter(None, (effects["noise_source"], effects["room_source"]))
    for path in {Path("data/shards"), RAW, *(Path(Path(source).parts[0]) for source in sources)}:
        if path.exists():
            _link(folder, path)
    chosen = _first(TRAIN, 60 * minutes)
    (folder / TRAIN).write_text("".join(chosen.values()))
    others = {cut["id"] for cut in read_lines(TRAIN)} - chosen.keys()
    with open(folder / PRETRAIN, "w", encoding="utf-8") as file:
        for cut in read_lines(PRETRAIN):
            file.write(json.dumps(cut | {"supervisions": []} if cut["id"] in others else cut) + "\n")
    if arm != "random":
        _run("pretrain", folder)
    _run("finetune", folder)


def _link(folder: Path, path: Path) -> None:
    link = folder / path
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())


def _first(manifest: Path, seconds: float) -> dict[str, str]:
    """id → line. The manifest lies shuffled: its first utterances are of many speakers."""
    lines = {}
    with open(manifest, encoding="utf-8") as file:
        for line in file:
            cut = json.loads(line)
            if cut["duration"] <= seconds:
                lines[cut["id"]] = line
                seconds -= cut["duration"]
    return lines


def _run(stage: str, folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "VELOCITY_TRACKING": "off", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run([sys.executable, "-m", f"velocity.stages.{stage}"], cwd=folder, env=environment, check=True)


def transcribe(folder: Path, part: int) -> list[tuple[str, str, str]]:
    """(id, reference, hypothesis) of every second utterance of a part of the test sets."""
    import torch

    from velocity.audio import compute_mel_spectrogram
    from velocity.data.manifests import load_cuts
    from velocity.data.shards import load_cut
    from velocity.model.asr import load_model
    from velocity.recognition.decoding.decoder import Decoder
    from velocity.recognition.language_model.ngram import NGram
    from velocity.text import TextTokenizer

    torch.set_num_threads(1)
    model = load_model(folder / FINETUNED)
    tokenizer = TextTokenizer(folder / PREPARED / "tokenizer.model")
    lm, frame_seconds = NGram(LANGUAGE_MODEL), 0.01 * model.config.stride
    decoder = Decoder(tokenizer, frame_seconds, lm, lm_weight=0.6, word_bonus=0.5)
    found = []
    for manifest in test_manifests(folder):
        for cut in list(load_cuts(manifest))[::2][part::PARTS]:
            mel = torch.from_numpy(compute_mel_spectrogram(load_cut(cut)))[None]
            with torch.no_grad():
                *_, phones = model.outputs(mel)
            found.append((cut.id, cut.supervisions[0].text, decoder.decode_phones(phones[0].numpy())[0].text))
    return found


def hypotheses(folder: Path) -> list[tuple[str, str, str]]:
    cached = folder / "hypotheses.json"
    if not cached.exists():
        with ProcessPoolExecutor(2) as pool:
            parts = list(pool.map(transcribe, repeat(folder, PARTS), range(PARTS)))
        cached.write_text(json.dumps(sorted(chain.from_iterable(parts))))
    return [tuple(row) for row in json.loads(cached.read_text())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=["random", "supervised"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[30.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--stage-1", type=int, default=5000, help="steps of 24 s")
    parser.add_argument("--stage-2", type=int, default=1500, help="steps of 24 s")
    parser.add_argument("--out", type=Path, default=Path("build/pretraining"))
    asked = parser.parse_args()
    out = asked.out.resolve()
    for minutes in asked.minutes:
        for seed in asked.seeds:
            first: Any = None
            for arm in asked.arms:
                folder = out / f"{arm}-{minutes:g}-{seed}"
                train(folder, arm, seed, minutes, asked.stage_1, asked.stage_2)
                rows = hypotheses(folder)
                scored = score([row[1] for row in rows], [row[2] for row in rows])
                first = first or scored
                low, high = bootstrap(scored.word_errors - first.word_errors, scored.words)
                difference = f"{100 * low:+.1f} to {100 * high:+.1f} points"
                print(f"{minutes:g} min, seed {seed}, {arm}: WER {scored.wer:.1%} ({difference})", flush=True)


if __name__ == "__main__":
    main()
