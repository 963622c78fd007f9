"""One process, one device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.strategy import Strategy
from pytorch_lightning.utilities.plain_mark import plain

_Broadcast = TypeVar("_Broadcast")


class SingleDeviceStrategy(Strategy):
    """Runs everything in this process on one device."""

    strategy_name = "single_device"

    def __init__(
        self,
        device: torch.device | str | int = "cpu",
        accelerator: Accelerator | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        super().__init__(accelerator, checkpoint_io, precision_plugin)
        self._root_device = torch.device(device)

    def assign_devices(self, devices: Sequence[torch.device]) -> None:
        """Take the one device that was asked for."""
        self._root_device = devices[0]

    @property
    def root_device(self) -> torch.device:
        """The device."""
        return self._root_device

    @property
    def is_global_zero(self) -> bool:
        """There is no other."""
        return True

    def model_to_device(self) -> None:
        """Move the module to the device."""
        if self.model is not None:
            self.module_to_device(self.model)

    @plain
    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """Return the tensor: one process has nothing to reduce."""
        return tensor

    @plain
    def barrier(self, name: str | None = None) -> None:
        """Nobody to wait for."""

    @plain
    def broadcast(self, obj: _Broadcast, src: int = 0) -> _Broadcast:
        """Return the object."""
        return obj

    @plain
    def all_gather(
        self, tensor: Tensor, group: Any | None = None, sync_grads: bool = False
    ) -> Tensor:
        """Return the tensor."""
        return tensor

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `single_device`."""
        strategy_registry.register(cls.strategy_name, cls, description=cls.__name__)
