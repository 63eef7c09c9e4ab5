"""Operations of MIL in PyTorch, by their names and with the arguments of the specification; those our programs have.

https://apple.github.io/coremltools/source/coremltools.converters.mil.mil.ops.defs.html
Values are tensors, constants among them; names of modes are strings. An argument that is not known here is an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from velocity.errors import VelocityError


def ints(values: Tensor) -> list[int]:
    return [int(value) for value in values.reshape(-1)]


def flags(values: Tensor | None, like: Tensor) -> list[bool]:
    return [False] * like.numel() if values is None else [bool(value) for value in values.reshape(-1)]


def only(value: Any, known: Any, what: str) -> None:
    if value != known:
        raise VelocityError(f"{what} {value} is not known to the interpreter of Core ML programs")


def cast(x: Tensor, dtype: str) -> Tensor:
    return x  # to the type declared for the result, as all results are


def concat(values: list[Tensor], axis: Tensor, interleave: Tensor) -> Tensor:
    only(bool(interleave), False, "concat with interleave")
    return torch.cat([value.reshape(1) if value.dim() == 0 else value for value in values], int(axis))


def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: Tensor) -> Tensor:
    shape = [1] * quantized_data.dim()
    shape[int(axis)] = -1
    spread = lambda tensor: tensor.reshape(shape) if tensor.dim() else tensor  # noqa: E731
    return (quantized_data.float() - spread(zero_point).float()) * spread(scale)


def conv(
    x: Tensor, weight: Tensor, strides: Tensor, pad_type: str, pad: Tensor, dilations: Tensor, groups: Tensor,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Of one dimension: (b, c, l)."""
    only(x.dim(), 3, "a convolution of a tensor of dimensions")
    if pad_type == "custom":
        x = F.pad(x, ints(pad))
    else:
        only(pad_type, "valid", "padding of a convolution by")
    return F.conv1d(x, weight, bias, ints(strides), 0, ints(dilations), int(groups))


def max_pool(x: Tensor, kernel_sizes: Tensor, strides: Tensor, pad_type: str, pad: Tensor, ceil_mode: Tensor) -> Tensor:
    """Of images: (b, c, h, w)."""
    only(bool(ceil_mode), False, "ceil_mode of a pooling")
    if pad_type == "custom":
        top, bottom, left, right = ints(pad)
        x = F.pad(x, (left, right, top, bottom), value=float("-inf"))
    else:
        only(pad_type, "valid", "padding of a pooling by")
    return F.max_pool2d(x, ints(kernel_sizes), ints(strides))


def cumsum(x: Tensor, axis: Tensor, exclusive: Tensor, reverse: Tensor) -> Tensor:
    only((bool(exclusive), bool(reverse)), (False, False), "cumsum with exclusive, reverse")
    return x.cumsum(int(axis))


def expand_dims(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    for axis in sorted(axis % rank for axis in ints(axes)):
        x = x.unsqueeze(axis)
    return x


def gather(x: Tensor, indices: Tensor, axis: Tensor, batch_dims: Tensor) -> Tensor:
    only(int(batch_dims), 0, "gather with batch_dims")
    dim = int(axis) % x.dim()
    found = x.index_select(dim, indices.reshape(-1).long() % x.shape[dim])  # negative ones count from the end
    return found.reshape([*x.shape[:dim], *indices.shape, *x.shape[dim + 1 :]])


def gelu(x: Tensor, mode: str) -> Tensor:
    only(mode, "EXACT", "gelu of mode")
    return F.gelu(x)


def layer_norm(x: Tensor, axes: Tensor, gamma: Tensor, beta: Tensor, epsilon: Tensor) -> Tensor:
    return F.layer_norm(x, [x.shape[axis] for axis in ints(axes)], gamma, beta, float(epsilon))


def matmul(x: Tensor, y: Tensor, transpose_x: Tensor, transpose_y: Tensor) -> Tensor:
    return (x.mT if transpose_x else x) @ (y.mT if transpose_y else y)


def pad(x: Tensor, pad: Tensor, mode: str, constant_val: Tensor) -> Tensor:
    """``pad`` holds (before, after) of the last axes, in their order; PyTorch wants the last axis first."""
    only(mode, "constant", "pad of mode")
    pairs = pad.reshape(-1, 2).flip(0)
    return F.pad(x, ints(pairs), value=float(constant_val))


def reshape(x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape([x.shape[i] if size == 0 and x.numel() else size for i, size in enumerate(ints(shape))])


def slice_by_index(
    x: Tensor,
    begin: Tensor,
    end: Tensor,
    stride: Tensor | None = None,
    begin_mask: Tensor | None = None,
    end_mask: Tensor | None = None,
    squeeze_mask: Tensor | None = None,
) -> Tensor:
    steps = [1] * begin.numel() if stride is None else ints(stride)
    whole_begin, whole_end, one = (flags(mask, begin) for mask in (begin_mask, end_mask, squeeze_mask))
    index: list[Any] = []
    for i, (first, last) in enumerate(zip(ints(begin), ints(end), strict=True)):
        if one[i]:
            index.append(first)
        else:
            index.append(slice(None if whole_begin[i] else first, None if whole_end[i] else last, steps[i]))
    return x[tuple(index)]


def split(x: Tensor, axis: Tensor, split_sizes: Tensor | None = None, num_splits: Tensor | None = None) -> list[Tensor]:
    sizes = ints(split_sizes) if split_sizes is not None else x.shape[int(axis)] // int(num_splits)
    return list(x.split(sizes, int(axis)))


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def reduction(of: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def reduce(x: Tensor, axes: Tensor, keep_dims: Tensor) -> Tensor:
        return of(x, dim=tuple(ints(axes)), keepdim=bool(keep_dims))

    return reduce


def binary(of: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x, y: of(x, y)


def unary(of: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    return lambda x: of(x)


OPERATIONS: dict[str, Callable[..., Any]] = {
    operation.__name__: operation
    for operation in (
        cast, concat, constexpr_affine_dequantize, conv, cumsum, expand_dims, gather, gelu, layer_norm, matmul,
        max_pool, pad, reshape, slice_by_index, split, squeeze,
    )
}  # fmt: skip
OPERATIONS |= {
    "add": binary(torch.add),
    "cos": unary(torch.cos),
    "equal": binary(torch.eq),
    "exp": unary(torch.exp),
    "fill_like": lambda ref_tensor, value: value.expand(ref_tensor.shape),
    "floor_div": binary(torch.floor_divide),
    "gather_along_axis": lambda x, indices, axis: x.gather(int(axis), indices.long() % x.shape[int(axis)]),
    "greater_equal": binary(torch.ge),
    "less": binary(torch.lt),
    "linear": lambda x, weight, bias=None: F.linear(x, weight, bias),
    "log": lambda x, epsilon: (x + epsilon).log(),
    "logical_or": binary(torch.logical_or),
    "maximum": binary(torch.maximum),
    "minimum": binary(torch.minimum),
    "mul": binary(torch.mul),
    "range_1d": lambda start, end, step: torch.arange(start.item(), end.item(), step.item()),
    "real_div": binary(torch.div),
    "reduce_max": reduction(torch.amax),
    "reduce_mean": reduction(torch.mean),
    "reduce_sum": reduction(torch.sum),
    "reverse": lambda x, axes: x.flip(ints(axes)),
    "select": lambda cond, a, b: torch.where(cond, a, b),
    "shape": lambda x: torch.tensor(x.shape),
    "sigmoid": unary(torch.sigmoid),
    "silu": unary(F.silu),
    "sin": unary(torch.sin),
    "softmax": lambda x, axis: x.softmax(int(axis)),
    "softplus": unary(F.softplus),
    "sub": binary(torch.sub),
    "tile": lambda x, reps: x.tile(ints(reps)),
    "transpose": lambda x, perm: x.permute(ints(perm)),
}
