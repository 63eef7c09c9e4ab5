"""The selective scan as Mamba-2's structured state-space duality (Dao & Gu 2024, "Transformers are SSMs").

Per head, with a state S of shape (n, p), scalar decay exp(a_t) and input-dependent B_t, C_t of shape (n,):

    S_t = exp(a_t) · S_{t-1} + B_t ⊗ x_t          y_t = C_t · S_t

Three implementations that the tests hold equal: ``scan_sequential`` is this definition, ``scan_chunked`` computes it
with matrix products (training, export), ``scan_step`` takes one frame and the state (streaming; a chunk with state is
``scan_chunked`` given one). Shapes throughout: b batch, l frames, h heads, g groups of heads that share B and C,
p head width, n state size, q frames a chunk, c chunks. The inputs x are already multiplied by the step Δ.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WHOLE = 192  # frames: up to three usual chunks, products of (l, l) are cheaper than the states between chunks
GROUP = 8  # chunks that are joined by one matrix product before groups are joined with each other


def scan_sequential(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The definition, frame by frame: x (b, l, h, p), log_decay (b, l, h) ≤ 0, B, C (b, l, g, n), state (b, h, n, p).

    Returns y (b, l, h, p) and the state after the last frame (b, h, n, p).
    """
    outputs = []
    for t in range(x.size(1)):
        y, state = scan_step(x[:, t], log_decay[:, t], B[:, t], C[:, t], state)
        outputs.append(y)
    return torch.stack(outputs, 1), state


def scan_step(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One frame: x (b, h, p), log_decay (b, h), B and C (b, g, n), state (b, h, n, p) or None for zeros."""
    heads_a_group = x.size(1) // B.size(1)
    B = B.repeat_interleave(heads_a_group, 1)  # (b, h, n)
    C = C.repeat_interleave(heads_a_group, 1)
    update = B.unsqueeze(-1) * x.unsqueeze(-2)  # (b, h, n, p)
    state = update if state is None else log_decay.exp()[..., None, None] * state + update
    return (C.unsqueeze(-1) * state).sum(-2), state


def scan_chunked(
    x: Tensor,
    log_decay: Tensor,
    B: Tensor,
    C: Tensor,
    chunk: int = 64,
    state: Tensor | None = None,
    bidirectional: bool = False,
) -> tuple[Tensor, Tensor]:
    """The same as ``scan_sequential``, in chunks: inside a chunk by products of (q, q) matrices, between chunks by the
    states they hand on. Shapes as there; any l ≥ 1; cost linear in l.

    ``bidirectional``: g = 2, and the second group of heads runs from the last frame to the first.
    """
    b, l, h, p = x.shape
    g, n = B.shape[2:]
    c = (l + chunk - 1) // chunk
    if not exporting():
        chunk = (l + c - 1) // c  # as many chunks, but no longer than they need to be
    # Frames that fill up the last chunk have x = 0 and decay 1: they leave the state as it is.
    pad = (chunk - 1, 0)[::-1]
    fill = lambda tensor: F.pad(tensor, (0, 0) * (tensor.dim() - 2) + pad)[:, : c * chunk]  # noqa: E731
    # Batch and chunks are one axis: no tensor has more than five, which is all that Core ML knows.
    x = fill(x).reshape(b * c, chunk, h, p)
    a = fill(log_decay).reshape(b * c, chunk, h)
    B, C = (fill(part).reshape(b * c, chunk, g, n) for part in (B, C))
    x, a, B, C = by_group(x, a, B, C)
    y, cumulative, total = within_chunk(x, a, B, C, bidirectional)

    # What each chunk adds to the state by its end, and the state that enters each chunk
    to_end = (total - cumulative).exp().unsqueeze(-1)  # (bc, g, h/g, q, 1)
    update = B.transpose(-1, -2).unsqueeze(2) @ (x * to_end)  # (bc, g, h/g, n, p)
    update, total = update.reshape(b, c, h, n * p), total.reshape(b, c, h)
    if bidirectional:
        update, total = (_turn_chunks(part) for part in (update, total))
    entering, state = carry(update, total, None if state is None else state.reshape(b, h, n * p))
    if bidirectional:
        entering = _turn_chunks(entering)

    # What the entering state adds: y_i += C_i · exp(a_1 + … + a_i) S
    entering = entering.reshape(b * c, g, h // g, n, p)
    y = y + (C.unsqueeze(2) @ entering) * cumulative.exp().unsqueeze(-1)
    y = y.permute(0, 3, 1, 2, 4).reshape(b, c * chunk, h, p)
    return y[:, :l], state.reshape(b, h, n, p)


def scan_whole(x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, bidirectional: bool = False) -> Tensor:
    """``scan_chunked`` with one chunk from an empty state, and without the final one: y (b, l, h, p).

    No state is made at all. The cost grows with l², and is the lower one up to ``WHOLE`` frames.
    """
    y, _, _ = within_chunk(*by_group(x, log_decay, B, C), bidirectional)
    return y.permute(0, 3, 1, 2, 4).flatten(2, 3)


def by_group(x: Tensor, a: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Chunks with their heads before the frames, ready for products of matrices.

    x (k, q, h, p), a (k, q, h), B and C (k, q, g, n) → (k, g, h/g, q, p), (k, g, h/g, q), and (k, g, q, n) twice.
    """
    k, q, h, p = x.shape
    g = B.size(2)
    x = x.reshape(k, q, g, h // g, p).permute(0, 2, 3, 1, 4)
    return x, a.reshape(k, q, g, h // g).permute(0, 2, 3, 1), B.transpose(1, 2), C.transpose(1, 2)


def within_chunk(x: Tensor, a: Tensor, B: Tensor, C: Tensor, bidirectional: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What the frames of a chunk give each other. Shapes as ``by_group`` returns them.

    y_i = Σ_{j ≤ i} (C_i · B_j) exp(a_{j+1} + … + a_i) x_j; backwards over j ≥ i, with a_i + … + a_{j-1}.
    Returns y (k, g, h/g, q, p), the decays from a chunk's beginning (backwards: its end) to each frame (k, g, h/g, q),
    and those of whole chunks (k, g, h/g, 1).
    """
    cumulative = a.cumsum(-1)  # (k, g, h/g, q)
    total = cumulative[..., -1:]  # (k, g, h/g, 1)
    if bidirectional:  # backwards, the sum from a frame to the end of its chunk
        cumulative = torch.cat([cumulative[:, :1], (total - cumulative + a)[:, 1:]], 1)
    similarity = C @ B.transpose(-1, -2)  # (k, g, q, q), shared by the heads of a group
    y = (similarity.unsqueeze(2) * decay_matrix(cumulative, bidirectional)) @ x  # (k, g, h/g, q, p)
    return y, cumulative, total


def exporting() -> bool:
    """Whether a graph for any length is being traced: what depends on this length must not be built into it."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def _turn_chunks(tensor: Tensor) -> Tensor:
    """Reverse the order of the chunks for the backward half of the heads: (b, c, h, …); its own inverse."""
    forward, backward = tensor.chunk(2, 2)
    return torch.cat([forward, backward.flip(1)], 2)


def decay_matrix(cumulative: Tensor, bidirectional: bool = False) -> Tensor:
    """Cumulative log decays (…, q) → (…, q, q): exp(cumulative_i - cumulative_j) where j ≤ i, else 0.

    ``bidirectional``: (…, 2, h, q), and where j ≥ i in the second.
    """
    q = cumulative.size(-1)
    index = torch.arange(q, device=cumulative.device)
    # Taken away before the exponential: above the diagonal the difference is positive and might overflow. To subtract
    # a small constant costs a fraction of what choosing does where nothing fuses the two.
    later = torch.where(index[:, None] < index[None, :], float("inf"), 0.0)
    if bidirectional:
        later = torch.stack([later, later.T]).unsqueeze(1)  # (2, 1, q, q)
    return (cumulative.unsqueeze(-1) - cumulative.unsqueeze(-2) - later).exp()


def carry(update: Tensor, log_decay: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """State entering each chunk, S_{k+1} = exp(d_k) S_k + U_k, with S_0 = ``state``, None for zeros.

    update U (b, c, h, s), log_decay d (b, c, h), state (b, h, s) → entering states (b, c, h, s), final state (b, h, s).
    Joined in groups of 8 chunks and then across groups: the part that grows with the square of the length does so
    once in 8·64 frames squared, so that an hour of audio still costs what its minutes do.
    """
    b, c, h, s = update.shape
    if not exporting() and c <= GROUP and state is None:  # one group, with nothing before it
        within = decay_matrix(F.pad(log_decay.transpose(1, 2), (1, 0)).cumsum(-1))  # (b, h, c+1, c+1)
        local = within[..., 1:] @ update.transpose(1, 2)  # (b, h, c+1, s)
        return local[:, :, :-1].transpose(1, 2), local[:, :, -1]
    state = torch.zeros_like(update[:, 0]) if state is None else state
    groups = (c + GROUP - 1) // GROUP
    fill = lambda tensor: F.pad(tensor, (0, 0) * (tensor.dim() - 2) + (0, GROUP - 1))[:, : groups * GROUP]  # noqa: E731
    update = fill(update).reshape(b, groups, GROUP, h, s).transpose(2, 3)  # (b, m, h, 8, s)
    log_decay = fill(log_decay).reshape(b, groups, GROUP, h).transpose(2, 3)  # (b, m, h, 8)

    within = decay_matrix(F.pad(log_decay, (1, 0)).cumsum(-1))  # (b, m, h, 9, 9): row i, what chunk i is entered with
    local = within[..., 1:] @ update  # (b, m, h, 9, s): from the chunks of the group alone
    group_update, group_decay = local[..., -1, :], log_decay.sum(-1)  # (b, m, h, s), (b, m, h)

    across = decay_matrix(F.pad(group_decay.transpose(1, 2), (1, 0)).cumsum(-1))  # (b, h, m+1, m+1)
    chain = torch.cat([state.unsqueeze(1), group_update], 1).transpose(1, 2)  # (b, h, m+1, s)
    group_entering = across @ chain  # (b, h, m+1, s): state entering each group, the last row leaving the last one
    first = group_entering[:, :, :-1].transpose(1, 2).unsqueeze(3)  # (b, m, h, 1, s)

    entering = local[..., :-1, :] + within[..., :-1, :1] * first  # (b, m, h, 8, s)
    entering = entering.transpose(2, 3).reshape(b, groups * GROUP, h, s)[:, :c]
    return entering, group_entering[:, :, -1]
