"""What strategies on XLA devices have in common: marks, shared parameters, parts of their kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer

from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO
from pytorch_lightning.checkpoint.xla import XLACheckpointIO
from pytorch_lightning.precision.xla import XLAPrecision
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.imports import import_optional
from pytorch_lightning.utilities.parameter_tying import (
    find_shared_parameters,
    set_shared_parameters,
)

_DEBUG = "PT_XLA_DEBUG"


def mark() -> None:
    """Let the device compute what was recorded so far."""
    import_optional("torch_xla", purpose="`accelerator='tpu'`").sync()


@contextmanager
def marked() -> Iterator[None]:
    """A context at whose end the device computes what was recorded in it."""
    yield
    mark()


def precision_of(name: str) -> XLAPrecision:
    """The precision of a name.

    Raises:
        MisconfigurationException: If XLA devices do not have it.
    """
    try:
        return XLAPrecision(name)  # type: ignore[arg-type]  # it refuses other names
    except ValueError as error:
        raise MisconfigurationException(str(error)) from None


def file_writer(checkpoint_io: CheckpointIO) -> CheckpointIO:
    """The same one, or today's default in the kind that these devices need."""
    return XLACheckpointIO() if type(checkpoint_io) is TorchCheckpointIO else checkpoint_io


def move_whole(module: nn.Module, move: Callable[[], Any]) -> dict[nn.Parameter, nn.Parameter]:
    """Move a module of which a move to XLA makes new parameters; shared ones stay shared.

    Returns:
        The new parameters by those that they replace.
    """
    shared = find_shared_parameters(module)
    before = dict(module.named_parameters())
    move()
    set_shared_parameters(module, shared)
    after = dict(module.named_parameters())
    return {old: after[name] for name, old in before.items() if after[name] is not old}


def follow(optimizer: Optimizer, replaced: dict[nn.Parameter, nn.Parameter]) -> Optimizer:
    """Let an optimizer that was made before such a move step the new parameters."""
    for group in optimizer.param_groups:
        group["params"] = [replaced.get(parameter, parameter) for parameter in group["params"]]
    for old, new in replaced.items():
        if old in optimizer.state:
            optimizer.state[new] = optimizer.state.pop(old)
    return optimizer


def set_debug(on: bool) -> None:
    """Let torch_xla explain what it compiles."""
    if on:
        os.environ[_DEBUG] = "1"
    else:
        os.environ.pop(_DEBUG, None)
