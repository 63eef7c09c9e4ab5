"""The three forms of the selective scan against its definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from velocity.model.ssd import carry, scan_chunked, scan_sequential, scan_step, scan_whole

B, H, G, P, N = 2, 4, 2, 6, 5


def inputs(length: int, seed: int = 0, groups: int = G, dtype=torch.float32) -> tuple[torch.Tensor, ...]:
    """x, log_decay, B, C, state of a scan over ``length`` frames."""
    random = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=random, dtype=dtype) / N**0.5  # noqa: E731
    log_decay = -torch.rand(B, length, H, generator=random, dtype=dtype)
    return draw(B, length, H, P), log_decay, draw(B, length, groups, N), draw(B, length, groups, N), draw(B, H, N, P)


def by_hand(x, log_decay, B_, C_, state):
    """The recurrence of one batch row and head at a time, in plain loops of scalars times vectors."""
    y = torch.zeros_like(x)
    final = state.clone()
    for b in range(x.size(0)):
        for h in range(x.size(2)):
            g = h // (x.size(2) // B_.size(2))
            S = state[b, h].clone()
            for t in range(x.size(1)):
                S = torch.exp(log_decay[b, t, h]) * S + torch.outer(B_[b, t, g], x[b, t, h])
                y[b, t, h] = C_[b, t, g] @ S
            final[b, h] = S
    return y, final


@pytest.mark.parametrize("groups", [1, 2])
def test_sequential_is_the_definition(groups):
    arguments = inputs(23, groups=groups)
    y, state = scan_sequential(*arguments)
    expected, expected_state = by_hand(*arguments)
    assert torch.allclose(y, expected, atol=1e-5)
    assert torch.allclose(state, expected_state, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 180), chunk=st.sampled_from([1, 3, 8, 64]), seed=st.integers(0, 99))
def test_chunked_equals_sequential_at_any_length_and_chunk(length, chunk, seed):
    arguments = inputs(length, seed)
    y, state = scan_chunked(*arguments[:4], chunk=chunk, state=arguments[4])
    expected, expected_state = scan_sequential(*arguments)
    assert (y - expected).abs().max() <= 1e-5
    assert (state - expected_state).abs().max() <= 1e-5


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 200), seed=st.integers(0, 99))
def test_the_whole_as_one_chunk_equals_the_sequential_scan(length, seed):
    x, a, b, c, _ = inputs(length, seed)  # decays are differences of sums of up to 200: 1e-5 would be their precision
    y = scan_whole(x, a, b, c)
    expected, _ = scan_sequential(x, a, b, c)
    assert (y - expected).abs().max() <= 5e-5
    both = scan_whole(x, a, b, c, bidirectional=True)  # the second half of the heads from the end
    backwards, _ = scan_sequential(*(part.flip(1) for part in (x, a, b, c)))
    assert (both[:, :, : H // 2] - expected[:, :, : H // 2]).abs().max() <= 5e-5
    assert (both[:, :, H // 2 :] - backwards.flip(1)[:, :, H // 2 :]).abs().max() <= 5e-5


def test_gradients_of_all_inputs_agree():
    arguments = [tensor.requires_grad_() for tensor in inputs(150, dtype=torch.float64)]
    weight = torch.randn(B, 150, H, P, dtype=torch.float64)

    def gradients(y, state):
        return torch.autograd.grad((y * weight).sum() + state.square().sum(), arguments)

    chunked = gradients(*scan_chunked(*arguments[:4], chunk=16, state=arguments[4]))
    sequential = gradients(*scan_sequential(*arguments))
    for one, other in zip(chunked, sequential, strict=True):
        assert (one - other).abs().max() <= 1e-5


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 139))
def test_a_scan_cut_anywhere_goes_on_from_its_state(cut):
    x, a, b, c, state = inputs(140)
    whole, final = scan_chunked(x, a, b, c, 16, state)
    first, middle = scan_chunked(x[:, :cut], a[:, :cut], b[:, :cut], c[:, :cut], 16, state)
    second, last = scan_chunked(x[:, cut:], a[:, cut:], b[:, cut:], c[:, cut:], 16, middle)
    assert (torch.cat([first, second], 1) - whole).abs().max() <= 1e-5
    assert (last - final).abs().max() <= 1e-5


def test_single_steps_follow_the_chunked_scan():
    x, a, b, c, state = inputs(70)
    whole, final = scan_chunked(x, a, b, c, 64, state)
    for t in range(70):
        y, state = scan_step(x[:, t], a[:, t], b[:, t], c[:, t], state)
        assert (y - whole[:, t]).abs().max() <= 1e-5
    assert (state - final).abs().max() <= 1e-5


def test_strong_decay_neither_overflows_nor_leaks():
    x, a, b, c, _ = inputs(300)
    y, _ = scan_chunked(x, a * 200, b, c)
    expected, _ = scan_sequential(x, a * 200, b, c)
    assert torch.isfinite(y).all()
    # Decays are differences of sums of up to 64 · 200: single precision leaves them about three digits.
    assert (y - expected).abs().max() <= 1e-3


@pytest.mark.parametrize("chunks", [1, 7, 8, 9, 40])
def test_carry_is_the_recurrence_over_chunks(chunks):
    update, log_decay, state = torch.randn(2, chunks, 3, 10), -torch.rand(2, chunks, 3), torch.randn(2, 3, 10)
    entering, final = carry(update, log_decay, state)
    for k in range(chunks):
        assert (entering[:, k] - state).abs().max() <= 1e-5
        state = log_decay[:, k].exp().unsqueeze(-1) * state + update[:, k]
    assert (final - state).abs().max() <= 1e-5
