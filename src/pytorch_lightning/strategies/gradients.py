"""Gradients of all processes, averaged outside of backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_BYTES = 25 * 2**20
_NONE, _DENSE = 0, 1  # and 1 + the number of sparse dimensions


def sum_gradients(
    parameters: Iterable[nn.Parameter], share: float, group: Any | None = None
) -> None:
    """Multiply the gradients by this process's share, then add those of all processes.

    A parameter without a gradient counts as zeros where another process has one, and keeps None
    where nobody has. Every process has to call this, with the same parameters in the same order.

    Args:
        share: 0 for a process without data; `1 / world_size` everywhere gives the mean.
    """
    wanted = list(dict.fromkeys(parameters))
    if not wanted:
        return
    kinds = torch.tensor(
        [_kind(parameter) for parameter in wanted], dtype=torch.uint8, device=wanted[0].device
    )
    dist.all_reduce(kinds, op=dist.ReduceOp.MAX, group=group)
    agreed = list(zip(wanted, kinds.tolist(), strict=True))
    for parameter, kind in agreed:
        if kind > _DENSE:
            parameter.grad = _sum_of_sparse(parameter, kind - _DENSE, share, group)
    dense = [_dense_gradient(parameter) for parameter, kind in agreed if kind == _DENSE]
    if not dense:
        return
    if share == 0:  # not a product: what is not finite here must not count either
        torch._foreach_zero_(dense)
    else:
        torch._foreach_mul_(dense, share)
    for bucket in _buckets(dense):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        dist.all_reduce(flat, group=group)
        parts = torch.split(flat, [gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


def _kind(parameter: nn.Parameter) -> int:
    if parameter.grad is None:
        return _NONE
    return _DENSE + parameter.grad.sparse_dim() if parameter.grad.is_sparse else _DENSE


def _dense_gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _sum_of_sparse(
    parameter: nn.Parameter, num_dims: int, share: float, group: Any | None
) -> Tensor:
    gradient = parameter.grad
    if gradient is None or share == 0:
        values = parameter.new_zeros((0, *parameter.shape[num_dims:]))
        rows = torch.zeros((num_dims, 0), dtype=torch.long, device=parameter.device)
        gradient = torch.sparse_coo_tensor(rows, values, parameter.shape, check_invariants=False)
    gradient = (gradient * share).coalesce()
    dist.all_reduce(gradient, group=group)
    return gradient


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one kind that travel together."""
    by_kind: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for gradient in gradients:
        by_kind.setdefault((gradient.dtype, gradient.device), []).append(gradient)
    for alike in by_kind.values():
        bucket: list[Tensor] = []
        size = 0
        for gradient in alike:
            if bucket and size + gradient.nbytes > _BUCKET_BYTES:
                yield bucket
                bucket, size = [], 0
            bucket.append(gradient)
            size += gradient.nbytes
        yield bucket
