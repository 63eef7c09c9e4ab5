"""The optimiser of the recogniser's matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

MOMENTUM = 0.95
ADAM_RMS = 0.2  # root mean square of an update of AdamW at a learning rate of 1, as measured by Liu et al.
ITERATIONS, POLYNOMIAL = 5, (3.4445, -4.7750, 2.0315)  # take singular values to between 0.7 and 1.2 (Jordan et al.)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal, so that a step changes all directions alike (Jordan et al. 2024,
    "Muon: an optimizer for hidden layers in neural networks"). Scaled so that AdamW's learning rates and weight decay
    fit (Liu et al. 2025, "Muon is scalable for LLM training", section 2.2).

    For weights (out, in) float32; ``bf16``: orthogonal in bf16, for hardware that computes it. The processes of a
    training share the work. In PyTorch's class of this name every process does all of it, always in bf16.
    """

    def __init__(self, weights: Iterable[Tensor], lr: float, weight_decay: float, bf16: bool = False) -> None:
        super().__init__(weights, {"lr": lr, "weight_decay": weight_decay})
        self.orthogonal = orthogonal_bf16 if bf16 else orthogonal

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = closure() if closure else None
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            updates = orthogonalised([self._direction(weight) for weight in weights], self.orthogonal)
            for weight, update in zip(weights, updates, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * ADAM_RMS * max(weight.shape) ** 0.5)
        return loss

    def _direction(self, weight: Tensor) -> Tensor:
        """Nesterov's momentum: the gradient, led by the moving average that it has just been added to."""
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"]
        momentum.lerp_(weight.grad, 1 - MOMENTUM)
        return weight.grad.lerp(momentum, MOMENTUM)


def orthogonalised(matrices: list[Tensor], orthogonal: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """``orthogonal`` of each. In a training of several processes each computes some; all of them give the same list."""
    if not torch.distributed.is_initialized() or not matrices:
        return [orthogonal(matrix) for matrix in matrices]
    rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
    everything = matrices[0].new_zeros(sum(matrix.numel() for matrix in matrices))
    parts = everything.split([matrix.numel() for matrix in matrices])
    largest_first = sorted(range(len(matrices)), key=lambda index: -matrices[index].numel())
    for index in largest_first[rank::processes]:
        parts[index].copy_(orthogonal(matrices[index]).flatten())
    torch.distributed.all_reduce(everything)  # adds zeros to each
    return [part.view_as(matrix) for part, matrix in zip(parts, matrices, strict=True)]


def orthogonal(matrix: Tensor) -> Tensor:
    """(m, n) → (m, n) with the same singular vectors and singular values near 1, by Newton and Schulz's iteration.

    A step of it multiplies by a polynomial in x·xᵀ; all of them are gathered in square matrices of the shorter side.
    """
    x = matrix if matrix.size(0) <= matrix.size(1) else matrix.T
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    identity = torch.eye(gram.size(0), dtype=x.dtype, device=x.device)
    a, b, c = POLYNOMIAL
    product = factor = a * identity + b * gram + c * gram @ gram
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = a * identity + b * gram + c * gram @ gram
        product = factor @ product
    x = product @ x
    return x if matrix.size(0) <= matrix.size(1) else x.T


def orthogonal_bf16(matrix: Tensor) -> Tensor:
    """The same as ``orthogonal``, in bf16: slower by its number of products, faster where bf16 is.

    The matrix itself is iterated. The square matrices of ``orthogonal`` are too inexact in 8 bits of mantissa.
    """
    x = matrix if matrix.size(0) <= matrix.size(1) else matrix.T
    x = (x / (x.norm() + 1e-7)).bfloat16()
    a, b, c = POLYNOMIAL
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    x = x.to(matrix.dtype)
    return x if matrix.size(0) <= matrix.size(1) else x.T
