"""Where tensors are made and where the state of an optimizer lives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.tree import map_leaves


def move_optimizers(optimizers: Iterable[Optimizer], device: torch.device) -> None:
    """Move the state of optimizers, but for what torch keeps on the CPU on purpose."""
    for optimizer in optimizers:
        groups = optimizer.param_groups
        keeps_steps = not any(g.get("capturable") or g.get("fused") for g in groups)
        keeps_steps = keeps_steps and device.type != "cpu"
        for parameter, state in optimizer.state.items():
            optimizer.state[parameter] = {
                name: value if name == "step" and keeps_steps else _moved(value, device)
                for name, value in state.items()
            }


def _moved(value: Any, device: torch.device) -> Any:
    return map_leaves(value, Tensor, lambda tensor: tensor.to(device))


def load_optimizer_states(
    optimizers: Sequence[Optimizer], states: Sequence[dict[str, Any]]
) -> None:
    """Give each optimizer its state.

    Raises:
        CheckpointError: If a state is of another optimizer, or of other parameters.
    """
    if len(optimizers) != len(states):
        raise CheckpointError(
            f"The checkpoint holds the state of {len(states)} optimizer(s), but "
            f"`configure_optimizers` returned {len(optimizers)}. Return the same ones as in the "
            "run that was saved."
        )
    for optimizer, state in zip(optimizers, states, strict=True):
        _load(optimizer, state)


def _load(optimizer: Optimizer, state: dict[str, Any]) -> None:
    name, settings = type(optimizer).__name__, set(getattr(optimizer, "defaults", ()))
    before = [settings & set(group) for group in optimizer.param_groups]
    try:
        optimizer.load_state_dict(state)
    except ValueError as error:
        raise CheckpointError(
            f"The state of an optimizer in the checkpoint does not fit {name}: {error}. Give it "
            "the same parameters and groups as in the run that was saved."
        ) from error
    groups = zip(before, optimizer.param_groups, strict=False)
    lost = {key for had, group in groups for key in had - set(group)}
    if lost:  # torch would fail at the first step
        raise CheckpointError(
            f"The checkpoint holds the state of another optimizer than {name}: it lacks "
            f"{', '.join(map(repr, sorted(lost)))}. Return the same one from "
            "`configure_optimizers` as in the run that was saved."
        )


class _SkipInit(TorchFunctionMode):
    """Turns the functions of `torch.nn.init` into nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def initialization_context(
    device: torch.device, precision: AbstractContextManager[Any], empty: bool
) -> Iterator[None]:
    """Make new tensors on a device and in a precision, without first values if `empty`."""
    with device, precision:
        if not empty:
            yield
            return
        with _SkipInit():
            yield
