"""What strategies on XLA devices have in common: marks, moves, parts of their kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO
from pytorch_lightning.checkpoint.xla import XLACheckpointIO
from pytorch_lightning.precision import Precision
from pytorch_lightning.precision.xla import XLAPrecision
from pytorch_lightning.strategies.strategy import Strategy
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


class OnXLA(Strategy):
    """Steps that end in a mark, and moves that follow the parameters they make."""

    accelerators = ("tpu",)
    allows_inference_mode = False  # XLA computes later, in another context
    debug: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._replaced: dict[nn.Parameter, nn.Parameter] = {}

    def make_precision(self, precision: str) -> Precision:
        """The precision in the kind of these devices.

        Raises:
            MisconfigurationException: If they do not have it.
        """
        try:
            return XLAPrecision(precision)  # type: ignore[arg-type]  # it refuses other names
        except ValueError as error:
            raise MisconfigurationException(str(error)) from None

    def adopt(
        self, accelerator: Accelerator, checkpoint_io: CheckpointIO, precision: Precision
    ) -> None:
        """Take the parts that were resolved; files are written as these devices need it."""
        writer = XLACheckpointIO() if type(checkpoint_io) is TorchCheckpointIO else checkpoint_io
        super().adopt(accelerator, writer, precision)

    def module_to_device(self, module: nn.Module) -> None:
        """Move a module to the device of this process."""
        self._replaced.update(move_whole(module, lambda: module.to(self.root_device)))

    def setup_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Follow the parameters that a move has made, for Fabric."""
        return follow(optimizer, self._replaced)

    def block_backward_sync(self) -> AbstractContextManager[Any]:
        """A context in which gradients are accumulated; they are computed at its end."""
        return marked()

    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `validation_step`."""
        with marked():
            return super().validation_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `test_step`."""
        with marked():
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `predict_step`."""
        with marked():
            return super().predict_step(*args, **kwargs)

    def teardown(self) -> None:
        """Bring the module home."""
        mark()
        module = self._lightning_module
        if module is None:
            super().teardown()
        else:
            move_whole(module, super().teardown)
        self._replaced.clear()
        if self.debug:
            set_debug(False)
