"""What several processes do together with tensors and objects."""

from __future__ import annotations

import pickle
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from pytorch_lightning.distributed.headers import (
    gather_headers,
    gather_rows,
    gather_stories,
    meet_for,
)
from pytorch_lightning.distributed.process_group import control_group
from pytorch_lightning.distributed.whereabouts import where_this_rank_is
from pytorch_lightning.utilities.suggest import did_you_mean
from pytorch_lightning.utilities.tree import leaves, map_leaves

_Object = TypeVar("_Object")
_MOST_AXES = 64  # as many as a tensor of torch can have
_OPERATIONS = {
    "mean": "AVG",
    "avg": "AVG",
    "sum": "SUM",
    "min": "MIN",
    "max": "MAX",
    "prod": "PRODUCT",
    "product": "PRODUCT",
    "band": "BAND",
    "bor": "BOR",
    "bxor": "BXOR",
}


def distributed_available() -> bool:
    """Whether this process is one of a group."""
    return dist.is_available() and dist.is_initialized()


# --- reducing -------------------------------------------------------------------------------------


def reduce(data: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
    """Reduce the tensors of a tree over all processes; other leaves come back as they are.

    It happens in place, but for a mean of integers or booleans, which is a new tensor of floats.

    Args:
        reduce_op: 'mean' or 'avg', 'sum', 'min', 'max', 'product' in any case, or a
            `torch.distributed.ReduceOp`; None means the sum.
    """
    operation = _operation(reduce_op)
    tensors = [leaf for leaf in leaves(data) if isinstance(leaf, Tensor)]
    if any(
        tensor.device.type == "cpu" for tensor in tensors
    ):  # gloo mixes up what differs, or dies
        _refuse_differences(tensors, group, f"reduce {operation}")
    return map_leaves(data, Tensor, lambda tensor: _reduce(tensor, group, operation))


def _operation(reduce_op: Any) -> Any:
    if reduce_op is None:
        return dist.ReduceOp.SUM
    if not isinstance(reduce_op, str):
        return reduce_op
    name = reduce_op.lower()
    if name not in _OPERATIONS:
        raise ValueError(
            f"`reduce_op={reduce_op!r}`: pass 'mean', 'sum', 'min', 'max' or 'product'."
            f"{did_you_mean(name, _OPERATIONS)}"
        )
    return getattr(dist.ReduceOp, _OPERATIONS[name])


def _reduce(tensor: Tensor, group: Any | None, operation: Any) -> Tensor:
    mean = operation == dist.ReduceOp.AVG
    with torch.no_grad():
        if mean and not (tensor.is_floating_point() or tensor.is_complex()):
            wide = _summed(tensor.to(torch.int64), group, dist.ReduceOp.SUM)
            return wide.double().div_(dist.get_world_size(group)).to(torch.get_default_dtype())
        if tensor.dtype == torch.bool:  # no backend reduces them
            wide = _summed(tensor.to(torch.uint8), group, operation)
            tensor.detach().copy_(wide)
            return tensor
        result = _summed(tensor, group, dist.ReduceOp.SUM if mean else operation)
        if mean:  # not every backend has the operation
            result = result.div_(dist.get_world_size(group))
        if result.data_ptr() != tensor.data_ptr() or result.stride() != tensor.stride():
            tensor.detach().copy_(result)
    return tensor


def _summed(tensor: Tensor, group: Any | None, operation: Any) -> Tensor:
    """The reduced tensor; it shares the memory of the given one where the backend takes that."""
    ready = tensor.detach().to(_device(tensor, group)).contiguous()
    dist.all_reduce(ready, op=operation, group=group)
    return ready


def _device(tensor: Tensor, group: Any | None) -> torch.device:
    """The device of a tensor, or that of this process where the group has no backend for it."""
    devices = _devices_of(group)
    if tensor.device.type in devices or not devices:
        return tensor.device
    if devices[0] == "cpu":
        return torch.device("cpu")
    return torch.device(devices[0], torch.accelerator.current_device_index())


def _devices_of(group: Any | None) -> list[str]:
    """Kinds of devices whose tensors a group can send: 'cpu:gloo,cuda:nccl' gives both."""
    pairs = (pair.split(":") for pair in str(dist.get_backend_config(group)).split(","))
    return [pair[0] for pair in pairs if len(pair) == 2]


# --- gathering ------------------------------------------------------------------------------------


def all_gather(data: Any, group: Any | None = None, sync_grads: bool = False) -> Any:
    """Gather the tensors and numbers of a tree: each gets shape (processes, *shape).

    Ranks that differ in structure, shapes or types are found before anything is sent, by one small
    message between CPUs, as most backends would hang. A group of its own that knows no CPU, such
    as one of NCCL alone, has no way to say so.

    Args:
        sync_grads: Let gradients flow back to the process that each part came from.

    Raises:
        ValueError: On all ranks, if they differ.
    """
    data = map_leaves(data, int | float, torch.tensor)
    tensors = [leaf for leaf in leaves(data) if isinstance(leaf, Tensor)]
    if not tensors:
        return data
    _refuse_differences(tensors, group, "all_gather", sync_grads=sync_grads)
    if sync_grads:
        gather: Any = AllGatherGrad.apply
        return map_leaves(data, Tensor, lambda tensor: gather(tensor, group))
    return map_leaves(data, Tensor, lambda tensor: _gathered(tensor, group))


def _gathered(tensor: Tensor, group: Any | None) -> Tensor:
    with torch.no_grad():
        ready = tensor.detach().to(_device(tensor, group)).contiguous()
        size = (dist.get_world_size(group), *ready.shape)
        found = torch.empty(size, dtype=ready.dtype, device=ready.device)
        dist.all_gather(list(found.unbind(0)), ready, group=group)
        return found.to(tensor.device)


class AllGatherGrad(torch.autograd.Function):
    """Gather a tensor of all processes; backward gives each the sum of its part's gradients."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any | None = None) -> Tensor:
        """Gather: shape (processes, *shape)."""
        ctx.group = group
        return _gathered(tensor, group)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator,unused-ignore]  # has no types in torch
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Sum up over the processes, and take this one's part."""
        total = _summed(gradient.clone(), ctx.group, dist.ReduceOp.SUM)
        return total[dist.get_rank(ctx.group)].to(gradient.device), None


def gather_all_tensors(result: Tensor, group: Any | None = None) -> list[Tensor]:
    """The tensors of all processes by rank; their sizes may differ, not the number of axes.

    Raises:
        ValueError: On all ranks, if the number of axes differs.
    """
    own = torch.full((_MOST_AXES,), -1, dtype=torch.int64, device=result.device)
    own[: result.ndim] = torch.tensor(result.shape, dtype=torch.int64)
    shapes = [[size for size in row if size >= 0] for row in _gathered(own, group).tolist()]
    if any(len(shape) != result.ndim for shape in shapes):
        raise ValueError(
            f"`gather_all_tensors` got the shapes {', '.join(map(str, map(tuple, shapes)))}, by "
            "rank: give all the same number of axes."
        )
    largest = [max(sizes) for sizes in zip(*shapes, strict=True)]
    padded = result.detach().new_zeros(largest)
    padded[tuple(map(slice, result.shape))] = result.detach()
    parts = zip(_gathered(padded, group), shapes, strict=True)
    return [part[tuple(map(slice, shape))].clone() for part, shape in parts]


def sync_ddp(result: Tensor, group: Any | None = None, reduce_op: Any = None) -> Any:
    """Reduce a tensor over all processes, in place; the sum, unless told otherwise."""
    return reduce(result, group, reduce_op)


# --- what differs between ranks -------------------------------------------------------------------


def _refuse_differences(
    tensors: list[Tensor], group: Any | None, verb: str, *, sync_grads: bool = False
) -> None:
    if group is None or group is dist.group.WORLD:
        speaking = control_group()
    elif "cpu" in _devices_of(group):
        speaking = group
    else:
        return
    told = [_described(tensor, sync_grads=sync_grads) for tensor in tensors]
    if gather_headers(verb, told, (), speaking).agree:
        return
    ranks = dist.get_process_group_ranks(group if group is not None else dist.group.WORLD)
    stories = gather_stories(verb, where_this_rank_is(), told, speaking)
    listed = "; ".join(
        f"rank {rank}: {', '.join(of)}" for rank, of in zip(ranks, stories, strict=True)
    )
    raise ValueError(
        f"`{verb.split()[0]}` got tensors that differ between the ranks ({listed}). Give all the "
        "same shape and type, by padding for example; `gather_all_tensors` takes different sizes."
    )


def _described(tensor: Tensor, *, sync_grads: bool) -> str:
    wants = " with gradient" if sync_grads and tensor.requires_grad else ""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}{wants}"


# --- objects and decisions ------------------------------------------------------------------------


def broadcast_object(obj: _Object, src: int = 0, group: Any | None = None) -> _Object:
    """Give an object of one process to all."""
    meet_for(f"broadcast from rank {src}", (), group)
    box: list[Any] = [obj]
    dist.broadcast_object_list(box, src=src, group=group)
    found: _Object = box[0]
    return found


def gather_objects(obj: Any, group: Any | None = None) -> list[Any]:
    """The objects of all processes, by rank, in every process."""
    packed = pickle.dumps(obj)
    sizes = [int(size) for (size,) in meet_for("gathering objects", [len(packed)], group).tolist()]
    row = torch.zeros(max(sizes), dtype=torch.uint8)
    row[: len(packed)] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    rows = zip(gather_rows(row, group), sizes, strict=True)
    return [pickle.loads(row[:size].numpy().tobytes()) for row, size in rows]


def agree(decision: bool, group: Any | None = None, *, all: bool = True) -> bool:
    """One decision of all processes.

    Args:
        all: Everybody has to say yes; else one is enough.
    """
    votes = meet_for(f"decision of {'all' if all else 'any'}", [float(decision)], group)
    return bool(votes.all() if all else votes.any())
