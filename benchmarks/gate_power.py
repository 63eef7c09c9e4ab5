"""What the gate refuses and what it lets pass, over many trials: planted word errors, a slower graph, the same model.

    python benchmarks/gate_power.py models/export/onnx-int8 [--test-set synthetic-test] [--trials 20] [--json FILE]

A trial of word errors draws 500 utterances and gives the model's own hypotheses to the champion; the candidate has them
with words replaced at random, 2 points more of them wrong to be expected. `bursts and other errors` is a candidate that
was trained anew: it gets half of the champion's faulty utterances right, and makes its own errors in bursts instead.
The slower graph is the same model with products beside it that cost 0.3 of its time. Every trial of speed is a
measurement of its own, as the gate's; `--busy 2` keeps two processes at work beside them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from velocity.config.gate import Gate
from velocity.config.reader import default_section
from velocity.evaluation.hypotheses import recognise
from velocity.evaluation.testset import Utterance, load_test_set
from velocity.gate import Facts, Judgement, judge
from velocity.gate.facts import Hypotheses, Model, measure_sizes, measure_speed
from velocity.gate.statistics import Ratio, paired_difference
from velocity.recognition.offline import VelocityASR

UTTERANCES, POINTS, SLOWER = 500, 2.0, 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of an artefact")
    parser.add_argument("--test-set", default="synthetic-test")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--busy", type=int, default=0, help="processes that compute beside the trials")
    parser.add_argument("--json", type=Path, help="also write every trial's figures there")
    options = parser.parse_args()

    limits = default_section("gate", Gate)
    name, utterances = load_test_set(options.test_set)
    hypotheses = recognise(VelocityASR(options.model), utterances, name).hypotheses
    sizes = {role: measure_sizes(options.model) for role in ("champion", "candidate")}

    def verdict(hypotheses: Hypotheses | None, speed: Ratio | None) -> Judgement:
        wer = {name: paired_difference(*hypotheses.scores(), limits.bootstrap)} if hypotheses else {}
        return judge(Facts("candidate", "champion", sizes, wer, speed), limits)

    trials: dict[str, list[Judgement]] = {}
    for case, worse in {
        "the same words": same,
        f"+{POINTS:g} points": replaced,
        "bursts and other errors": bursts,
    }.items():
        trials[case] = [verdict(worse(utterances, hypotheses, trial), None) for trial in range(options.trials)]
        show(case, trials[case])
    with tempfile.TemporaryDirectory() as temporary, busy(options.busy):
        champion = Model("champion", options.model)
        other = Path(shutil.copytree(options.model, Path(temporary, "same")))
        slower, products = slow_down(options.model, Path(temporary, "slower"), limits)
        measured = measure_speed(Model("slower", slower), champion, 10 * limits.rounds)
        print(f"the slower graph, {products} more products: {measured.ratio:.3f} × in {10 * limits.rounds} rounds")
        for case, folder in {"the same model": other, f"{SLOWER:g} × slower": slower}.items():
            trials[case] = [
                verdict(None, measure_speed(Model(case, folder), champion, limits.rounds))
                for _ in range(options.trials)
            ]
            show(case, trials[case])
    if options.json:
        figures = {case: [judgement.to_json() for judgement in judged] for case, judged in trials.items()}
        options.json.write_text(json.dumps(figures, indent=1))


def show(case: str, judged: Sequence[Judgement]) -> None:
    rows = [judgement.rows[0] for judgement in judged]
    differences = [row.difference for row in rows]
    widths = [row.interval[1] - row.interval[0] for row in rows]
    counted = ", ".join(f"{count} {verdict}" for verdict, count in Counter(j.verdict for j in judged).most_common())
    print(
        f"{case}: {counted}; measured {min(differences):+.3f} to {max(differences):+.3f} {rows[0].unit}, "
        f"intervals {np.median(widths):.3f} wide",
        flush=True,
    )


def same(utterances: Sequence[Utterance], hypotheses: Sequence[str], trial: int) -> Hypotheses:
    chosen = np.random.default_rng(trial).choice(len(utterances), UTTERANCES, replace=False)
    kept = [hypotheses[index] for index in chosen]
    return Hypotheses([utterances[index] for index in chosen], kept, kept)


def replaced(utterances: Sequence[Utterance], hypotheses: Sequence[str], trial: int) -> Hypotheses:
    """Each word replaced by another with the same probability; a word that is wrong already stays an error."""
    drawn = same(utterances, hypotheses, trial)
    before, _ = drawn.scores()
    right = before.words.sum() - before.word_errors.sum()
    probability = POINTS / 100 * before.words.sum() / right
    return Hypotheses(drawn.utterances, drawn.champion, spoil(drawn, drawn.champion, probability, trial))


def bursts(utterances: Sequence[Utterance], hypotheses: Sequence[str], trial: int) -> Hypotheses:
    """Half of the faulty utterances are right instead; as many errors, and 2 points, come back in bursts."""
    drawn = same(utterances, hypotheses, trial)
    before, _ = drawn.scores()
    generator = np.random.default_rng([trial, 1])
    cured = generator.random(UTTERANCES) < 0.5
    better = [u.text if c else h for u, h, c in zip(drawn.utterances, drawn.champion, cured, strict=True)]
    after, _ = Hypotheses(drawn.utterances, better, better).scores()
    missing = before.word_errors.sum() - after.word_errors.sum() + POINTS / 100 * before.words.sum()
    share = missing / (before.words.sum() - after.word_errors.sum())
    return Hypotheses(
        drawn.utterances, drawn.champion, spoil(drawn, better, share * generator.exponential(size=UTTERANCES), trial)
    )


def spoil(drawn: Hypotheses, hypotheses: Sequence[str], probability: float | np.ndarray, trial: int) -> list[str]:
    """Words replaced by others of the test set, with a probability for each utterance."""
    generator = np.random.default_rng([trial, 2])
    vocabulary = sorted({word for text in drawn.references for word in text.split()})
    spoiled = []
    for text, chance in zip(hypotheses, np.broadcast_to(probability, len(hypotheses)), strict=True):
        words = text.split()
        wrong = generator.random(len(words)) < chance
        others = [[word for word in vocabulary if word != own] for own in words]
        spoiled.append(
            " ".join(generator.choice(o) if w else own for own, o, w in zip(words, others, wrong, strict=True))
        )
    return spoiled


def slow_down(model: Path, folder: Path, limits: Gate) -> tuple[Path, int]:
    """The model with as many products beside it as make it SLOWER times as slow, by a first and a second guess."""
    products = 20
    for _ in range(2):
        add_products(model, folder, products)
        ratio = measure_speed(Model("slower", folder), Model("champion", model), 4 * limits.rounds).ratio
        products = max(1, round(products * (SLOWER - 1) / (ratio - 1)))
    add_products(model, folder, products)
    return folder, products


def add_products(model: Path, folder: Path, products: int) -> None:
    """A chain of products of the features with a matrix, whose end, times 0, is added to the log-posteriors."""
    import onnx
    from onnx import helper, numpy_helper

    shutil.copytree(model, folder, dirs_exist_ok=True)
    proto = onnx.load(folder / "model.onnx")
    graph = proto.graph
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((80, 80)))[0].astype(np.float32)
    constants = {"extra_rotation": rotation, "extra_zero": np.float32(0), "extra_axes": np.array([1, 2])}
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    last = next(node for node in graph.node if "log_probs" in node.output)
    last.output[list(last.output).index("log_probs")] = "extra_log_probs"
    for node in graph.node:
        node.input[:] = ["extra_log_probs" if name == "log_probs" else name for name in node.input]
    names = ["mel_spectrogram", *(f"extra_{index}" for index in range(products))]
    added = [helper.make_node("MatMul", [a, "extra_rotation"], [b]) for a, b in pairwise(names)]
    added += [
        helper.make_node("ReduceSum", [names[-1], "extra_axes"], ["extra_sum"], keepdims=1),
        helper.make_node("Mul", ["extra_sum", "extra_zero"], ["extra_nothing"]),
        helper.make_node("Add", ["extra_log_probs", "extra_nothing"], ["log_probs"]),
    ]
    graph.node.extend(added)
    onnx.save(proto, folder / "model.onnx")


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes compute as long as the block lasts."""
    workers = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(processes)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def _compute() -> None:
    matrix = np.random.default_rng(0).standard_normal((300, 300))
    while True:
        matrix = np.tanh(matrix @ matrix / 17.0)


if __name__ == "__main__":
    main()
