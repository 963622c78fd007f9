"""One process, one XLA device."""

from __future__ import annotations

import torch

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.precision.xla import XLAPrecision
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.single_device import SingleDeviceStrategy
from pytorch_lightning.strategies.xla_marks import OnXLA, set_debug


class SingleDeviceXLAStrategy(OnXLA, SingleDeviceStrategy):
    """Runs everything in this process on one XLA device, such as a core of a TPU.

    Args:
        device: The device, or its index.
        debug: Let torch_xla explain what it compiles.
    """

    strategy_name = "single_xla"

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

    def setup_environment(self) -> None:
        """Prepare the device."""
        if self.debug:
            set_debug(True)
        super().setup_environment()

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `single_xla`, and the name of 1.x."""
        for name in ("single_xla", "single_tpu"):
            strategy_registry.register(name, cls, description=cls.__name__)
