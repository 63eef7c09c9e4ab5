"""The denominator of MMI against a sum over all paths, one by one."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.training.objectives.mmi import Denominator, log_partition

LABELLINGS = [[1, 2, 2, 3], [3, 1, 1], [2], [1, 3, 2, 1, 1]]


@pytest.fixture(scope="module")
def denominator() -> Denominator:
    return Denominator(1.0, LABELLINGS, classes=4)


def one_by_one(denominator: Denominator, log_posteriors: torch.Tensor) -> torch.Tensor:
    """(frames, classes) → ln of the sum over all paths, each with the prior of its labelling."""
    paths = list(itertools.product(range(log_posteriors.size(1)), repeat=len(log_posteriors)))
    labellings = [[label for label, _ in itertools.groupby(path) if label] for path in paths]
    padded = torch.tensor([labels + [0] * (len(log_posteriors) - len(labels)) for labels in labellings])
    prior = denominator.prior(padded, torch.tensor([len(labels) for labels in labellings]))
    return (prior + log_posteriors[torch.arange(len(log_posteriors)), torch.tensor(paths)].sum(1)).logsumexp(0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 2**32), st.sampled_from([0.3, 1.0, 10.0]))
def test_the_sum_over_all_paths_and_its_gradient(denominator, lengths, seed, spread):
    generator = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(len(lengths), max(lengths), 4, generator=generator)
    log_posteriors = scores.log_softmax(-1).requires_grad_()
    rows = zip(log_posteriors, lengths, strict=True)
    expected = torch.stack([one_by_one(denominator, row[:length]) for row, length in rows])
    weights = torch.arange(1.0, 1.0 + len(lengths))
    (slope,) = torch.autograd.grad((weights * expected).sum(), log_posteriors)
    found = log_partition(log_posteriors, torch.tensor(lengths), denominator.trigrams)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
    (found_slope,) = torch.autograd.grad((weights * found).sum(), log_posteriors)
    assert torch.allclose(found_slope, slope, rtol=1e-3, atol=1e-4)


def test_a_trigram_is_its_share_and_the_shorter_history_for_what_was_not_seen(denominator):
    """By hand: 1 follows the history (3, 2) once, of one; then 1 + 1 · P(1 | 2) of 2."""
    p_1 = (6 + 4 / 4) / (17 + 4)  # 6 of 17 labels, ends included, of 4 kinds; else one of 4 classes
    p_1_after_2 = (1 + 4 * p_1) / (4 + 4)  # 2 is followed by 2, 3, the end and 1, once each
    assert denominator.trigrams[3, 2, 1].exp().item() == pytest.approx((1 + p_1_after_2) / 2, rel=1e-5)
    assert torch.allclose(denominator.trigrams.exp().sum(-1), torch.ones(4, 4))


def test_the_prior_is_of_labels_and_end_without_padding(denominator):
    labels, lengths = torch.tensor([[1, 3, 0], [2, 2, 1], [0, 0, 0]]), torch.tensor([2, 3, 0])
    table = denominator.trigrams
    by_hand = [
        table[0, 0, 1] + table[0, 1, 3] + table[1, 3, 0],
        table[0, 0, 2] + table[0, 2, 2] + table[2, 2, 1] + table[2, 1, 0],
        table[0, 0, 0],
    ]
    assert torch.allclose(denominator.prior(labels, lengths), torch.stack(by_hand))


def test_with_all_its_weight_the_loss_is_the_probability_of_the_labelling_among_all(denominator):
    torch.manual_seed(0)
    log_posteriors, labels = torch.randn(1, 4, 4).log_softmax(-1), [2, 1]
    ctc = F.ctc_loss(log_posteriors.transpose(0, 1), torch.tensor([labels]), [4], [2], reduction="sum")
    loss = ctc / 2 + denominator(log_posteriors, torch.tensor([4]), torch.tensor([labels]), torch.tensor([2]))
    every = 0.0
    for count in range(5):
        for other in itertools.product((1, 2, 3), repeat=count):
            given = torch.tensor([[*other, 0]]), torch.tensor([count])
            own = F.ctc_loss(log_posteriors.transpose(0, 1), given[0][:, :count], [4], [count], reduction="sum")
            every += math.exp(denominator.prior(*given).item() - own.item())
    share = math.exp(denominator.prior(torch.tensor([labels]), torch.tensor([2])).item() - ctc.item()) / every
    assert loss.item() == pytest.approx(-math.log(share) / 2, rel=1e-4)


def test_an_utterance_too_short_for_its_labels_adds_nothing(denominator):
    log_posteriors = torch.randn(2, 4, 4).log_softmax(-1).requires_grad_()
    labels, counts = torch.tensor([[1, 1, 2, 3], [1, 2, 2, 0]]), torch.tensor([4, 3])  # five and four frames at least
    both = denominator(log_posteriors, torch.tensor([4, 4]), labels, counts)
    other = denominator(log_posteriors[1:], torch.tensor([4]), labels[1:], counts[1:])
    assert both.item() == pytest.approx(other.item() / 2, rel=1e-4)
    both.backward()
    assert not log_posteriors.grad[0].any()
    assert log_posteriors.grad[1].any()


def test_it_is_computed_in_32_bits_where_the_model_is_not(denominator):
    log_posteriors = torch.randn(2, 30, 4).log_softmax(-1).requires_grad_()
    arguments = log_posteriors, torch.tensor([30, 20]), denominator.trigrams
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = log_partition(*arguments)
    assert rounded.dtype == torch.float32
    assert torch.equal(rounded, log_partition(*arguments))


def test_long_utterances_neither_vanish_nor_overflow():
    """Labels that are certain: what is left is their prior."""
    labels = torch.arange(1, 48).repeat(4).unsqueeze(0)
    certain = F.one_hot(labels, 48).float() * 200 - 200
    denominator = Denominator(1.0, labels.tolist(), 48)
    length = torch.tensor([labels.size(1)])
    found = log_partition(certain.requires_grad_(), length, denominator.trigrams)
    assert torch.allclose(found, denominator.prior(labels, length), rtol=1e-4)
    found.backward()
    assert torch.allclose(certain.grad, F.one_hot(labels, 48).float(), atol=1e-4)
