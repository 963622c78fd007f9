"""One process, one XLA device."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.precision import Precision
from pytorch_lightning.precision.xla import XLAPrecision
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.single_device import SingleDeviceStrategy
from pytorch_lightning.strategies.xla_marks import (
    file_writer,
    follow,
    mark,
    marked,
    move_whole,
    precision_of,
    set_debug,
)


class SingleDeviceXLAStrategy(SingleDeviceStrategy):
    """Runs everything in this process on one XLA device, such as a core of a TPU.

    Args:
        device: The device, or its index.
        debug: Let torch_xla explain what it compiles.
    """

    strategy_name = "single_xla"
    accelerators = ("tpu",)
    allows_inference_mode = False  # XLA computes later, in another context

    def __init__(
        self,
        device: torch.device | str | int = 0,
        accelerator: Accelerator | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: XLAPrecision | None = None,
        debug: bool = False,
    ) -> None:
        place = torch.device("xla", device) if isinstance(device, int) else torch.device(device)
        super().__init__(place, accelerator, checkpoint_io, precision_plugin)
        self.debug = debug
        self._replaced: dict[nn.Parameter, nn.Parameter] = {}

    def make_precision(self, precision: str) -> Precision:
        """The precision in the kind of these devices."""
        return precision_of(precision)

    def adopt(
        self, accelerator: Accelerator, checkpoint_io: CheckpointIO, precision: Precision
    ) -> None:
        """Take the parts that were resolved, but for those that were chosen here."""
        super().adopt(accelerator, file_writer(checkpoint_io), precision)

    def setup_environment(self) -> None:
        """Prepare the device."""
        if self.debug:
            set_debug(True)
        super().setup_environment()

    def module_to_device(self, module: nn.Module) -> None:
        """Move a module to the device."""
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

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `single_xla`, and the name of 1.x."""
        for name in ("single_xla", "single_tpu"):
            strategy_registry.register(name, cls, description=cls.__name__)
