"""What several processes do together with tensors and objects."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

_Object = TypeVar("_Object")


def reduce(tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
    """Reduce a tensor over all processes, in place; anything else comes back as it is."""
    if not isinstance(tensor, Tensor):
        return tensor
    mean = isinstance(reduce_op, str) and reduce_op.lower() in ("mean", "avg")
    op = dist.ReduceOp.SUM if mean else _operation(reduce_op)
    dist.all_reduce(tensor, op=op, group=group)
    return tensor.div_(dist.get_world_size(group)) if mean else tensor


def _operation(reduce_op: Any) -> Any:
    return getattr(dist.ReduceOp, reduce_op.upper()) if isinstance(reduce_op, str) else reduce_op


def all_gather(tensor: Tensor, group: Any | None = None, sync_grads: bool = False) -> Tensor:
    """Gather a tensor of all processes: shape (processes, *shape)."""
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, tensor.contiguous(), group=group)
    return torch.stack(parts)


def broadcast_object(obj: _Object, src: int = 0, group: Any | None = None) -> _Object:
    """Give an object of one process to all."""
    box: list[Any] = [obj]
    dist.broadcast_object_list(box, src=src, group=group)
    found: _Object = box[0]
    return found


def gather_objects(obj: Any, group: Any | None = None) -> list[Any]:
    """The objects of all processes, by rank, in every process."""
    found: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, obj, group=group)
    return found


def agree(decision: bool, group: Any | None = None, *, all: bool = True) -> bool:
    """One decision of all processes.

    Args:
        all: Everybody has to say yes; else one is enough.
    """
    votes = torch.tensor(int(decision))
    dist.all_reduce(votes, op=dist.ReduceOp.SUM, group=group)
    count = int(votes)
    return count == dist.get_world_size(group) if all else count > 0
