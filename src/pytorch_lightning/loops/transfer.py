"""A batch to the device: precision, hooks and strategy, bound once per stage."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.loops.pulling import pulls
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.tree import move_data_to_device

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
    else:
        moved = lambda batch, loader: move_data_to_device(batch, device)  # noqa: E731
    if is_plain(precision, "convert_input"):
        return moved
    return lambda batch, loader: moved(precision.convert_input(batch), loader)


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
