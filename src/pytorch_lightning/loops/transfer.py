"""A batch to the device: precision, hooks and strategy, bound once per stage."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.loops.pulling import pulls
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.tree import leaves, move_data_to_device

Transfer = Callable[[Any, int], Any]


def bind_transfer(run: Run, step: str) -> Transfer:
    """Convert, `on_before_batch_transfer`, move, `on_after_batch_transfer`; only what is needed.

    Args:
        step: Whose batches; a step that pulls them itself gets them untouched.
    """
    if pulls(run.module, step):
        return _untouched
    strategy, precision = run.strategy, run.strategy.precision_plugin
    device = strategy.root_device
    hooked = _hooked(run)
    strategy.transfer_batch = hooked
    if not is_plain(strategy, "batch_to_device"):
        moved: Transfer = lambda batch, loader: strategy.batch_to_device(batch, device, loader)  # noqa: E731
    elif hooked is not None:
        moved = lambda batch, loader: hooked(batch, device, loader)  # noqa: E731
    elif device.type == "cpu":
        moved = _to_cpu
    elif device.type == "cuda":
        moved = SideStream(device)
    else:
        moved = lambda batch, loader: move_data_to_device(batch, device)  # noqa: E731
    if is_plain(precision, "convert_input"):
        return moved
    return lambda batch, loader: moved(precision.convert_input(batch), loader)


class SideStream:
    """Copies pinned batches to a GPU beside what it computes.

    The host runs ahead of the GPU: it asks for the next batch while the step before is computed.
    On the stream of the step a copy would wait for it; on one of its own it does not. Nothing is
    fetched earlier than it is used.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream | None = None  # made in the process that uses it

    def __call__(self, batch: Any, loader: int) -> Any:
        if not _is_pinned(batch):
            return move_data_to_device(batch, self.device)
        if self.stream is None:
            self.stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]  # torch
        computes = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.stream):
            moved = move_data_to_device(batch, self.device)
        computes.wait_stream(self.stream)
        for leaf in leaves(moved):
            if isinstance(leaf, Tensor) and leaf.is_cuda:
                leaf.record_stream(computes)  # its memory is not used again before the step is over
        return moved


def _is_pinned(batch: Any) -> bool:
    """Whether a batch is of pinned tensors alone.

    Tensors inside of other objects could not be kept until the step is over. Of the tensors the
    first one tells: a loader pins all of them or none.
    """
    first: Tensor | None = None
    for leaf in leaves(batch):
        if isinstance(leaf, Tensor):
            first = leaf if first is None else first
        elif hasattr(leaf, "to"):
            return False
    return first is not None and first.is_cpu and first.is_pinned()


def _untouched(batch: Any, loader: int) -> Any:
    return batch


def _to_cpu(batch: Any, loader: int) -> Any:
    """Most batches on a CPU are there already: look before walking."""
    if type(batch) in (list, tuple):
        for item in batch:
            if type(item) is not Tensor or not item.is_cpu:
                return move_data_to_device(batch, "cpu")
        return batch
    if type(batch) is Tensor and batch.is_cpu:
        return batch
    return move_data_to_device(batch, "cpu")


def _hooked(run: Run) -> Callable[[Any, Any, int], Any] | None:
    """The overridden transfer hooks; the datamodule's before the module's."""
    before = _owner(run, "on_before_batch_transfer")
    move = _owner(run, "transfer_batch_to_device")
    after = _owner(run, "on_after_batch_transfer")
    if before is None and move is None and after is None:
        return None
    session = run.session

    def transfer(batch: Any, device: Any, loader: int) -> Any:
        running = session.hook
        if before is not None:
            session.hook = "on_before_batch_transfer"
            batch = before(batch, loader)
        session.hook = "transfer_batch_to_device"
        batch = move_data_to_device(batch, device) if move is None else move(batch, device, loader)
        if after is not None:
            session.hook = "on_after_batch_transfer"
            batch = after(batch, loader)
        session.hook = running
        return batch

    return transfer


def _owner(run: Run, hook: str) -> Callable[..., Any] | None:
    for owner in (run.datamodule, run.module):
        if owner is not None and is_overridden_hook(owner, hook):
            method: Callable[..., Any] = getattr(owner, hook)
            return method
    return None
