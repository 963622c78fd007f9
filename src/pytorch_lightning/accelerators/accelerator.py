"""The contract of a kind of device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from pytorch_lightning.utilities.plain_mark import plain

if TYPE_CHECKING:
    from pytorch_lightning.accelerators.registry import Registry
    from pytorch_lightning.trainer.trainer import Trainer


class Accelerator(ABC):
    """A kind of device: how many there are, how to set one up, what it can tell of itself.

    A new kind is a subclass plus one line, `AcceleratorRegistry.register("name", MyAccelerator)`;
    after that `accelerator="name"` finds it.
    """

    @abstractmethod
    def setup_device(self, device: torch.device) -> None:
        """Prepare the device of this process, before the module is moved there."""

    @plain
    def setup(self, trainer: Trainer) -> None:
        """Prepare for a run of the trainer."""

    @plain
    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        """What the device reports of itself, by name; nothing by default."""
        return {}

    @abstractmethod
    def teardown(self) -> None:
        """Release what `setup_device` took."""

    @staticmethod
    @abstractmethod
    def parse_devices(devices: Any) -> Any:
        """Turn what the user wrote as `devices` into what `get_parallel_devices` takes."""

    @staticmethod
    @abstractmethod
    def get_parallel_devices(devices: Any) -> Any:
        """List the torch devices of one machine, one for each process."""

    @staticmethod
    @abstractmethod
    def auto_device_count() -> int:
        """How many devices `devices="auto"` means."""

    @staticmethod
    @abstractmethod
    def is_available() -> bool:
        """Whether this machine has such a device."""

    @staticmethod
    @abstractmethod
    def name() -> str:
        """The name under which the accelerator is registered."""

    @classmethod
    def register_accelerators(cls, accelerator_registry: Registry) -> None:
        """Put the class into the registry under its name."""
        accelerator_registry.register(cls.name(), cls, description=cls.__name__)
