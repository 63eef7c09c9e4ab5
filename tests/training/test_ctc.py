"""The objective of fine-tuning: which batches are masked, what the middle block's and the phones' losses add."""

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.model.test_asr import small
from velocity.config.augmentation import Augmentation
from velocity.config.reader import default_section
from velocity.data.batches import Batch
from velocity.data.manifests import to_line, write_lines
from velocity.phones import CLASSES, PHONES
from velocity.quantization.linear import quantize_linears
from velocity.text import train_tokenizer
from velocity.training.objectives.ctc import CTC, divergence
from velocity.training.objectives.mmi import Denominator
from velocity.training.phones import PhoneTargets, labellings_of, lexicon_of


@pytest.fixture
def batch() -> Batch:
    torch.manual_seed(0)
    targets = torch.randint(1, 20, (2, 8))
    return Batch(["a", "b"], torch.randn(2, 120, 80), torch.tensor([120, 90]), targets, torch.tensor([8, 5]))


def loss(objective: CTC, batch: Batch) -> float:
    torch.manual_seed(1)
    with torch.no_grad():
        return objective(batch).item()


def test_only_augmented_batches_are_masked_and_only_in_training(batch):
    settings = default_section("finetune.augmentation", Augmentation, time_masks=4, frequency_masks=4)
    masked = CTC(small(dropout=0.0), augmentation=settings)
    assert loss(masked, batch) == loss(CTC(masked.model), batch)
    assert loss(masked, replace(batch, augmented=True)) != loss(masked, batch)
    masked.eval()
    assert loss(masked, replace(batch, augmented=True)) == loss(masked, batch)


def test_the_early_loss_has_its_weight_in_training_alone(batch):
    both = CTC(small(dropout=0.0), early=0.3)
    last, first = (replace_weight(both, weight) for weight in (0.0, 1.0))
    assert loss(both, batch) == pytest.approx(0.7 * last(batch) + 0.3 * first(batch), rel=1e-5)
    both.eval()
    assert loss(both, batch) == pytest.approx(last(batch), rel=1e-5)


def replace_weight(objective: CTC, weight: float):
    def measured(batch: Batch) -> float:
        own, objective.early = objective.early, weight
        mode = objective.training
        try:
            return loss(objective.train(), batch)
        finally:
            objective.early = own
            objective.train(mode)

    return measured


def test_two_views_differ_by_the_divergence_of_their_frames():
    """By hand: two utterances of two and one frames, two classes, three labels and one."""
    views = torch.tensor(
        [[[0.5, 0.5], [0.9, 0.1]], [[0.2, 0.8], [0.5, 0.5]], [[0.8, 0.2], [0.9, 0.1]], [[0.2, 0.8], [0.6, 0.4]]]
    )
    lengths, labels = torch.tensor([2, 1, 2, 1]), torch.tensor([3, 1, 3, 1])
    both_ways = (
        0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2) + 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    )
    assert divergence(views.log(), lengths, labels).item() == pytest.approx(both_ways / 3 / 2 / 2, rel=1e-5)
    assert divergence(views.log(), lengths, torch.zeros(4)).isfinite()  # texts without any label


def test_consistency_is_of_augmented_batches_in_training_alone(spoken):
    batch, targets = spoken
    settings = default_section("finetune.augmentation", Augmentation, time_masks=4, frequency_masks=4)
    model = small(dropout=0.0, vocabulary=30, phones=True)
    plain = CTC(model, 0.3, settings, 0.4, targets)
    consistent = CTC(model, 0.3, settings, 0.4, targets, consistency=0.5)
    consistent.early_head = plain.early_head
    augmented = replace(batch, augmented=True)
    assert loss(consistent, batch) == loss(plain, batch)
    assert loss(consistent, augmented) > loss(replace_consistency(consistent, 1e-9), augmented)
    for objective in (plain, consistent):
        objective.augmentation = None
    assert loss(consistent, augmented) == pytest.approx(loss(plain, augmented), rel=1e-5)  # both views are the same
    assert loss(consistent.eval(), augmented) == loss(plain.eval(), augmented)


def replace_consistency(objective: CTC, weight: float) -> CTC:
    other = copy.copy(objective)
    other.consistency = weight
    return other


def test_each_view_is_drawn_to_the_other():
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 5, requires_grad=True)
    divergence(scores.log_softmax(-1), torch.tensor([3, 3]), torch.tensor([1, 1])).backward()
    one, other = scores.detach().softmax(-1)
    assert torch.allclose(scores.grad[0], (one - other) / 2, atol=1e-6)  # of KL(fixed ‖ softmax): softmax − fixed
    assert torch.allclose(scores.grad[1], (other - one) / 2, atol=1e-6)


CAT, SAT = (bytes(2 + PHONES.index(phone) for phone in word.split()) for word in ("k a t", "s a t"))


@pytest.fixture
def spoken(tmp_path) -> tuple[Batch, PhoneTargets]:
    """Four texts; the lexicon has two of their words, and none of the last text's."""
    tokenizer = train_tokenizer([], "characters", 30, tmp_path / "tokenizer.model")
    classes = [torch.tensor(tokenizer.encode(text)) for text in ("cat sat", "sat", "xq cat", "xq")]
    lengths = torch.tensor([len(row) for row in classes])
    targets = torch.nn.utils.rnn.pad_sequence(classes, batch_first=True)
    torch.manual_seed(0)
    batch = Batch(list("abcd"), torch.randn(4, 120, 80), torch.tensor([120, 90, 70, 50]), targets, lengths)
    return batch, PhoneTargets(tokenizer, {"cat": CAT, "sat": SAT})


def test_the_phones_are_those_of_the_words_that_have_a_pronunciation(spoken):
    batch, targets = spoken
    classes, lengths = targets(batch)
    k, a, t, s = (2 + PHONES.index(phone) for phone in "kats")
    assert classes.tolist() == [[k, a, t, 1, s, a, t], [s, a, t, 0, 0, 0, 0], [k, a, t, 0, 0, 0, 0], [0] * 7]
    assert lengths.tolist() == [7, 3, 3, 0]


def test_the_phones_loss_is_their_ctc_on_the_final_frames(spoken):
    """A mean over utterances of loss per phone, beside what is the loss without it, and in training alone."""
    batch, targets = spoken
    model = small(dropout=0.0, vocabulary=30, phones=True)
    objective = CTC(model, early=0.3, phones=0.4, phone_targets=targets)
    letters = CTC(model, early=0.3)
    letters.early_head = objective.early_head
    with torch.no_grad():
        encoded = model.encode(model.normalize(batch.features, batch.lengths), batch.lengths)
        log_probs = F.log_softmax(model.phone_head(encoded.frames), -1).transpose(0, 1)
        hand_written = torch.tensor([*CAT, 1, *SAT, *SAT, *CAT])
        sums = F.ctc_loss(log_probs, hand_written, encoded.lengths, torch.tensor([7, 3, 3, 0]), reduction="none")
    phones = (sums / torch.tensor([7, 3, 3, 1])).mean().item()
    assert loss(objective, batch) == pytest.approx(0.6 * loss(letters, batch) + 0.4 * phones, rel=1e-5)
    objective.eval()
    assert loss(objective, batch) == pytest.approx(loss(letters.eval(), batch), rel=1e-6)


def test_the_denominator_is_of_the_phones_in_training_alone(spoken):
    batch, targets = spoken
    model = small(dropout=0.0, vocabulary=30, phones=True)
    plain = CTC(model, phones=0.4, phone_targets=targets)
    denominator = Denominator(0.7, [CAT, SAT], CLASSES)
    both = CTC(model, phones=0.4, phone_targets=targets, denominator=denominator)
    with torch.no_grad():
        encoded = model.encode(model.normalize(batch.features, batch.lengths), batch.lengths)
        added = denominator(model.phone_log_posteriors(encoded.frames), encoded.lengths, *targets(batch)).item()
    assert abs(added) > 0.1
    assert loss(both, batch) == pytest.approx(loss(plain, batch) + 0.4 * added, rel=1e-5)
    assert loss(both.eval(), batch) == loss(plain.eval(), batch)


def test_a_batch_without_any_phones_or_with_too_many_trains_on(spoken):
    batch, targets = spoken
    model = quantize_linears(small(vocabulary=30, phones=True))
    denominator = Denominator(1.0, [CAT, SAT], CLASSES)
    objective = CTC(model, phones=0.5, phone_targets=targets, denominator=denominator).train()
    for lexicon in ({}, {"sat": SAT * 50}):
        targets.lexicon = lexicon
        objective.zero_grad()
        found = objective(batch)
        found.backward()
        assert torch.isfinite(found)
        assert all(torch.isfinite(p.grad).all() for p in objective.parameters() if p.grad is not None)
    assert objective.model.phone_head.range.any()  # seen in training, for INT8


def test_the_lexicon_has_every_word_of_the_manifest(tmp_path):
    texts = ("the cat sat", "a cat")
    write_lines(tmp_path / "train.jsonl", (to_line({"supervisions": [{"text": text}]}) for text in texts))
    lexicon = lexicon_of(tmp_path / "train.jsonl")
    assert lexicon.keys() == {"the", "cat", "sat", "a"}
    assert (lexicon["cat"], lexicon["sat"]) == (CAT, SAT)
    labellings = labellings_of(tmp_path / "train.jsonl", lexicon)
    assert next(labellings) == bytes([1]).join((lexicon["the"], CAT, SAT))
