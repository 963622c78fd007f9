"""What the memory held when it ran out, as a note on the error."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.memory import is_oom_error
from pytorch_lightning.utilities.tree import leaves, shapes_in

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_MOST_SHAPES = 16
_CURE = (
    "What makes it smaller: fewer samples in a batch, with `accumulate_grad_batches` for the same "
    "step; `precision='bf16-mixed'`; `torch.utils.checkpoint` for activations; `strategy='fsdp'` "
    "for parameters and optimizer state."
)


def memory_report(run: Run, error: BaseException) -> str:
    """Who holds the memory, if an allocator said that there is none left; else an empty text."""
    if not is_oom_error(error):
        return ""
    try:
        return _report(run)
    except Exception:  # this small, there may be no memory for a report
        return ""


def _report(run: Run) -> str:
    device = run.strategy.root_device
    parts = {
        "parameters and buffers": _tensors_of(run),
        "gradients": [p.grad for p in run.module.parameters() if p.grad is not None],
        "optimizer state": [leaf for o in run.raw_optimizers for leaf in leaves(_state(o))],
        "batch": list(leaves(run.session.batch)),
    }
    seen: set[int] = set()
    held = {name: _bytes(tensors, device, seen) for name, tensors in parts.items()}
    total, where = _in_use(device), str(device)
    shares = [f"{name} {_readable(count)}" for name, count in held.items()]
    if total is not None:
        rest = max(total - sum(held.values()), 0)
        of_what = "activations" if device.type != "cpu" else "activations, data sets, libraries"
        shares.append(f"the rest ({of_what}) {_readable(rest)}")
        where = f"{device}, {_readable(total)} in use"
    rank = f" of rank {run.strategy.global_rank}" if run.strategy.world_size > 1 else ""
    lines = [f"Out of memory on {where}{rank}: {', '.join(shares)}."]
    if shapes := shapes_in(run.session.batch, at_most=_MOST_SHAPES):
        lines.append(f"The batch: {shapes}.")
    return " ".join([*lines, _CURE])


def _tensors_of(run: Run) -> list[Any]:
    return [*run.module.parameters(), *run.module.buffers()]


def _state(optimizer: Any) -> list[Any]:
    return list(getattr(optimizer, "state", {}).values())


def _bytes(tensors: Iterable[Any], device: torch.device, seen: set[int]) -> int:
    """The memory on a device behind tensors, each part of it once."""
    count = 0
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            continue
        part = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        if part.device != device or part.layout is not torch.strided:
            continue
        storage = part.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            count += storage.nbytes()
    return count


def _in_use(device: torch.device) -> int | None:
    """What this process has allocated: tensors on an accelerator, everything on the host."""
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    if device.type != "cpu":
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:  # a system without such a file
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _readable(count: float) -> str:
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"
