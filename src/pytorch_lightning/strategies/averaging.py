"""How processes meet besides in backward: hooks of the exchange, averaged weights, one loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import LBFGS, Optimizer

from pytorch_lightning.utilities.exceptions import MisconfigurationException

Removable = Any  # the handle of a hook of an optimizer


def register_comm_hook(
    wrapper: DistributedDataParallel, state: object, hook: Callable[..., Any], name: str
) -> None:
    """Let a hook exchange the gradients.

    Raises:
        MisconfigurationException: If the hook cannot work on this device.
    """
    try:
        wrapper.register_comm_hook(state=state, hook=hook)
    except TypeError as error:
        raise MisconfigurationException(
            f"`ddp_comm_hook={name}`: it does not work on {wrapper.device_type!r} with "
            f"{dist.get_backend()!r} ({error}). Pass `fp16_compress_hook`, or none."
        ) from error


def is_local_sgd(state: object) -> bool:
    """Whether the processes train apart for some steps, and average their weights then."""
    return type(state).__name__ == "PostLocalSGDState"  # its module may not load at import


def average_weights_periodically(
    optimizers: Iterable[Optimizer], state: Any, period: int
) -> list[Removable]:
    """Average the weights of all processes every few steps, once local training has begun.

    Raises:
        ValueError: If an optimizer spreads its work over the processes itself.
    """
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager

    handles = []
    for optimizer in optimizers:
        _refuse_distributed(optimizer)
        averager = PeriodicModelAverager(period=period, warmup_steps=state.start_localSGD_iter)

        def average(stepped: Optimizer, args: Any, options: Any, averager: Any = averager) -> None:
            averager.average_parameters(_parameters(stepped))

        handles.append(optimizer.register_step_post_hook(average))
    return handles


def _parameters(optimizer: Optimizer) -> Iterable[nn.Parameter]:
    for group in optimizer.param_groups:
        yield from group["params"]


def _refuse_distributed(optimizer: Optimizer) -> None:
    kind = type(optimizer).__name__
    if kind in ("ZeroRedundancyOptimizer", "PostLocalSGDOptimizer", "DistributedOptimizer"):
        raise ValueError(
            f"`model_averaging_period` does not work with {kind}, which talks to the other "
            "processes itself. Return a plain optimizer from `configure_optimizers`."
        )


def agree_on_losses(optimizers: Iterable[Optimizer]) -> list[Removable]:
    """Let an optimizer that decides by the loss see that of all processes.

    Each would follow its own samples else: one stops its search, and another waits for it.
    """
    return [
        optimizer.register_step_pre_hook(_with_mean_loss)
        for optimizer in optimizers
        if isinstance(optimizer, LBFGS)
    ]


def _with_mean_loss(
    optimizer: Optimizer, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    closure = options["closure"] if "closure" in options else args[1]  # after the optimizer

    def compute() -> Any:
        loss = closure()
        if not isinstance(loss, Tensor):
            return loss
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        return mean.div_(dist.get_world_size())

    return (optimizer, compute), {}
