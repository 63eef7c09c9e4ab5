"""Training: it learns, it goes on where it was, batches weigh what they hold, and it stops where it goes astray."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch

from tests.augmentation import augmentation
from tests.training.tones import made_up, settings, statistics, tone_cuts, tone_loader, tone_objective, write_tones
from velocity.config.finetuning import Finetuning
from velocity.config.reader import default_section
from velocity.data.batches import START, Batch, Position
from velocity.errors import VelocityError
from velocity.model.asr import save_model
from velocity.quantization import linear
from velocity.quantization.linear import quantized_layers, set_mode
from velocity.training.checkpoint import Checkpoints, checkpoints_of
from velocity.training.devices import set_determinism, start
from velocity.training.loop import backward, fit
from velocity.training.objectives.ctc import CTC
from velocity.training.optimiser import averaged, ema_decay, learning_rate, weight_average
from velocity.training.scoring import validation_scores


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    set_determinism(1)  # so small a model gains nothing from a second thread
    yield tmp_path
    torch.set_num_threads(threads)


def stream(poisoned: dict[int, float] | None = None):
    """``fit``'s batches, made up: the loudness of those in ``poisoned`` is multiplied."""

    def batches(position: Position):
        for number in range(position.batch, 10_000):
            batch = made_up(3, number)
            batch.features *= (poisoned or {}).get(number, 1.0)
            yield replace(batch, position=Position(0, 0, number))

    return batches


def test_training_overfits_a_handful_of_tones(manifest):
    loader, objective = tone_loader(manifest), tone_objective(manifest, dropout=0.0)
    cuts = tone_cuts(manifest.parent, 20)
    objective.model.set_feature_statistics(**statistics(cuts))
    chosen = settings(150, ema=0.99)
    history = fit(
        start(chosen),
        objective,
        lambda position: loader.training(manifest, 8.0, position),
        chosen,
        1,
        Checkpoints("t", lambda step: "f"),
        "tones",
        before_step=lambda step: set_mode(objective.model, "fake" if step >= 90 else "observe"),
        validate=lambda: validation_scores(objective, loader.plain(cuts, 8.0), loader.tokenizer),
    )
    assert history["training"][0]["loss"] > 2.0
    assert history["validation"][-1]["wer"] == 0.0


@pytest.mark.parametrize("killed_at", [4, 7])
def test_an_interrupted_training_ends_in_the_same_bytes(manifest, workspace, killed_at):
    def train(name: str, stop: int | None) -> bytes:
        loader, objective = tone_loader(manifest, augmentation(noise=0.5)), tone_objective(manifest)

        def before(step: int) -> None:
            if step == stop:
                raise KeyboardInterrupt
            set_mode(objective.model, "fake" if step >= 6 else "observe")

        torch.manual_seed(stop or 77)  # whatever state the process is in, it must not matter
        batches = lambda position: loader.training(manifest, 8.0, position)  # noqa: E731
        history = train_on(objective, batches, settings(12), name, before_step=before)
        save_model(objective.model, f"{name}.safetensors")
        return (workspace / f"{name}.safetensors").read_bytes() + repr(history).encode()

    undisturbed = train("undisturbed", None)
    with pytest.raises(KeyboardInterrupt):
        train("killed", killed_at)
    assert list(Path("models/checkpoints/killed").glob("00000004-*/state.json"))
    assert train("killed", None) == undisturbed


def test_a_training_with_more_steps_begins_where_the_shorter_one_turned(manifest, workspace, monkeypatch):
    """The result is that of the longer one from the start, and what both have in common is not repeated."""
    monkeypatch.setattr(linear, "REMEMBERED_STEPS", 2)

    def train(name: str, steps: int, **shares: float) -> tuple[bytes, list[int]]:
        chosen, taken, quantised = settings(steps, **shares), [], round(steps * 0.75)
        loader, objective = tone_loader(manifest), tone_objective(manifest)

        def before(step: int) -> None:
            taken.append(step)
            set_mode(objective.model, linear.training_mode(step, quantised))

        checkpoints = checkpoints_of(name, ["tones"], chosen, change=quantised - 2)  # ranges are followed from there
        batches = lambda position: loader.training(manifest, 8.0, position)  # noqa: E731
        history = fit(start(chosen), objective, batches, chosen, 1, checkpoints, "tones", before_step=before)
        checkpoints.clear()
        save_model(objective.model, f"{name}.safetensors")
        return (workspace / f"{name}.safetensors").read_bytes() + repr(history).encode(), taken

    short, first = train("grows", 8, warmup=0.25, decay=0.375)
    assert first == list(range(8))
    (kept,) = Path("models/checkpoints/grows").iterdir()
    assert kept.name.startswith("00000004-"), "the rate falls after step 5, and ranges are followed from 4 on"
    longer, rest = train("grows", 16, warmup=0.125, decay=0.25)
    assert rest == list(range(4, 16))
    assert longer == train("whole", 16, warmup=0.125, decay=0.25)[0] != short
    assert train("grows", 16, warmup=0.25, decay=0.25)[1][0] == 0, "another warm-up is another training"


def train_on(objective, batches, chosen, name="t", **more):
    return fit(start(chosen), objective, batches, chosen, 1, Checkpoints(name, lambda step: "f", 3), "finetune", **more)


def joined(first: Batch, second: Batch) -> Batch:
    """The utterances of both batches in one; both are of the same length."""
    longest = max(first.targets.size(1), second.targets.size(1))
    targets = [
        torch.nn.functional.pad(batch.targets, (0, longest - batch.targets.size(1))) for batch in (first, second)
    ]
    return Batch(
        first.ids + second.ids,
        torch.cat([first.features, second.features]),
        torch.cat([first.lengths, second.lengths]),
        torch.cat(targets),
        torch.cat([first.target_lengths, second.target_lengths]),
    )


def test_accumulated_batches_have_the_gradient_of_one_large_batch(manifest):
    fabric = start(settings(1, precision="32-true"))  # rounding would hide what is compared
    few, many = made_up(2, 1), made_up(7, 2)
    found = []
    for taken in ([few, many], [joined(few, many)], [few]):
        objective = tone_objective(manifest, quantised=False, dropout=0.0)
        loss = backward(fabric, fabric.setup(objective), taken)
        gradients = [weight.grad for weight in objective.parameters()]
        found.append((loss, torch.cat([gradient.flatten() for gradient in gradients])))
    (loss, gradient), (expected_loss, expected), (_, of_few) = found
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert (gradient - expected).norm() <= 1e-6 * expected.norm()
    assert (of_few - expected).norm() > 0.1 * expected.norm()


def test_a_step_takes_as_many_batches_as_are_accumulated(manifest):
    history = train_on(tone_objective(manifest), stream(), settings(3, accumulate=4))
    expected = sum(made_up(3, number).lengths.sum().item() for number in range(12)) / 100
    assert history["audio_seconds"] == pytest.approx(expected)


def test_the_average_of_the_weights_is_what_the_formula_says(manifest):
    objective = tone_objective(manifest)
    average, weights = weight_average(objective, 0.9), []
    for update in range(200):
        with torch.no_grad():
            for weight in objective.parameters():
                weight += 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(update))
            quantized_layers(objective.model)["head"].range[1] = update + 1.0
        average.update_parameters(objective)
        weights.append(objective.model.head.weight.detach().double())
    expected = weights[0]
    for update, weight in enumerate(weights[1:], 1):
        decay = min(0.9, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * weight
    assert (average.module.model.head.weight - expected).abs().max() <= 1e-5
    assert average.module.model.head.range[1] == 200.0, "ranges are averages already"
    own = objective.model.head.weight.clone()
    with averaged(objective, average):
        assert torch.equal(objective.model.head.weight, average.module.model.head.weight)
    assert torch.equal(objective.model.head.weight, own)
    assert ema_decay(1, 0.999) < ema_decay(50, 0.999) < ema_decay(10**6, 0.999) == 0.999


def test_validation_and_result_are_the_average(manifest):
    objective = tone_objective(manifest)
    seen = []
    train_on(objective, stream(), settings(6, ema=0.9), validate=lambda: seen.append(flat(objective)) or {"loss": 1.0})
    plain = tone_objective(manifest)
    train_on(plain, stream(), settings(6), "plain")
    assert torch.equal(seen[-1], flat(objective))
    assert not torch.allclose(flat(objective), flat(plain))


def flat(objective: CTC) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in objective.parameters()])


@pytest.mark.parametrize("resumed", [False, True])
def test_training_ends_when_validation_no_longer_improves_and_keeps_the_best(manifest, resumed):
    wer, weights = [0.9, 0.1, 0.5, 0.4, 0.6, 0.3, 0.0], {}
    chosen = settings(20, patience=3, validate_every=2, checkpoint_every=3)
    objective = tone_objective(manifest)

    def validate() -> dict[str, float]:
        step = stop.pop()
        weights[step] = flat(objective)
        return {"loss": 1.0, "wer": wer[step // 2 - 1]}

    def before(step: int) -> None:
        if resumed and step == 8 and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt
        stop[:] = [step + 1]

    stop, stopped = [], []
    train = lambda: train_on(objective, stream(), chosen, before_step=before, validate=validate, judge_from=4)  # noqa: E731
    if resumed:
        with pytest.raises(KeyboardInterrupt):
            train()
        objective = tone_objective(manifest)
    history = train()
    assert [row["wer"] for row in history["validation"]] == wer[:5]
    assert history["kept"] == {"step": 4, "loss": 1.0, "wer": 0.1}
    assert torch.equal(flat(objective), weights[4])


def test_rows_are_logged_as_they_come(manifest):
    logged = []
    history = train_on(
        tone_objective(manifest), stream(), settings(20, validate_every=10), validate=lambda: {"loss": 2.0},
        log=logged.append,
    )  # fmt: skip
    assert [row["step"] for row in logged] == [10, 10, 20, 20]
    assert logged[1] == {"step": 10, "validation_loss": 2.0}
    assert logged[0].pop("audio_seconds_per_second") > 0
    assert logged[0] == history["training"][0]
    assert set(logged[0]) == {"step", "loss", "learning_rate", "gradient_norm"}


def test_a_loss_that_is_no_number_stops_and_can_be_skipped(manifest, workspace):
    def train(poisoned, name, skip=(), began=None):
        objective, steps = tone_objective(manifest), []
        chosen = settings(30, skip_steps=skip, divergence=0.0)
        train_on(objective, stream(poisoned), chosen, name, before_step=steps.append)
        save_model(objective.model, f"{name}.safetensors")
        return steps, Path(f"{name}.safetensors").read_bytes()

    with pytest.raises(VelocityError) as caught:
        train({14: math.nan}, "t")
    message = str(caught.value)
    assert message.startswith("finetune: the loss at step 14 is not a number; the batch of step 14 holds s14u0, s14u1")
    assert "dvc exp run -S 'finetune.optimisation.skip_steps=[14]'" in message
    with pytest.raises(VelocityError, match="step 14"):
        train({14: math.nan}, "t")  # and again, for nothing has changed
    steps, weights = train({14: math.nan}, "t", skip=(14,))
    assert steps == list(range(14, 30)), "it goes on from the state before the step"
    assert weights == train({}, "healthy", skip=(14,))[1]


def test_what_may_change_when_a_training_goes_on_is_in_no_fingerprint():
    def mark(**changes) -> str:
        return repr(default_section("finetune", Finetuning, optimisation=settings(30, **changes)))

    assert mark() == mark(skip_steps=[14], keep_checkpoints=5, loaders=2) != mark(ema=0.9)


def test_a_loss_that_stays_too_high_stops_with_the_state_before_it_rose(manifest):
    bad = dict.fromkeys(range(30, 100), 1.0)
    objective = tone_objective(manifest, quantised=False)
    plain = objective.forward
    steps = []
    objective.forward = lambda batch: plain(batch) * (1000.0 if batch.position.batch in bad else 1.0)
    chosen = settings(100, divergence=10.0, checkpoint_every=7)
    with pytest.raises(
        VelocityError, match=r"loss at step 39 is .* too high since step 30; the batch of step 30 holds s30u0"
    ):
        train_on(objective, stream(), chosen)
    saved = sorted(path.name[:8] for path in Path("models/checkpoints/t").iterdir())
    assert saved == ["00000021", "00000028", "00000030"]
    bad.clear()
    train_on(objective, stream(), replace(chosen, steps=32), before_step=steps.append)
    assert steps == [30, 31]


def test_one_bad_batch_is_no_divergence(manifest):
    objective = tone_objective(manifest, quantised=False)
    plain = objective.forward
    objective.forward = lambda batch: plain(batch) * (1000.0 if batch.position.batch % 9 == 8 else 1.0)
    assert train_on(objective, stream(), settings(60))["training"][-1]["step"] == 60


def test_learning_rate_rises_stays_and_falls():
    held = [learning_rate(step, settings(100, warmup=0.1, decay=0.3)) for step in range(100)]
    assert held[9:71] == [held[9]] * 62
    assert all(earlier > later for earlier, later in pairwise(held[70:]))
    optimisation = settings(100, warmup=0.1, decay=0.9)
    rates = [learning_rate(step, optimisation) for step in range(100)]
    assert rates[9] == max(rates) == optimisation.learning_rate
    assert rates[0] == pytest.approx(optimisation.learning_rate / 10)
    assert rates[-1] < optimisation.learning_rate / 1000
    assert all(earlier > later for earlier, later in pairwise(rates[10:]))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_lowers_the_loss_in_either_precision(manifest, precision):
    loader, objective = tone_loader(manifest), tone_objective(manifest)
    batch = next(islice(loader.training(manifest, 8.0), 1))
    same = lambda position: iter(lambda: replace(batch, position=START), None)  # noqa: E731
    history = train_on(objective, same, settings(20, precision=precision))
    assert history["training"][1]["loss"] < history["training"][0]["loss"]
    assert all(weight.dtype == torch.float32 for weight in objective.parameters())
