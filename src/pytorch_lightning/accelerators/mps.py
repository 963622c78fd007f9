"""The GPU of Apple's processors."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.accelerators.indices import parse_indices
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class MPSAccelerator(Accelerator):
    """Computes on the GPU of an Apple processor; there is one."""

    def setup_device(self, device: torch.device) -> None:
        """Refuse a device of another kind."""
        if device.type != "mps":
            raise MisconfigurationException(
                f"`device={device}`: the MPS accelerator takes 'mps' only. Pass the accelerator "
                "that belongs to the device."
            )

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, float]:
        """Memory of the device in bytes; of the machine in percent where psutil is installed."""
        found: dict[str, float] = {
            "mps_allocated_bytes": torch.mps.current_allocated_memory(),
            "mps_driver_bytes": torch.mps.driver_allocated_memory(),
        }
        try:
            psutil = importlib.import_module("psutil")
        except ImportError:
            return found
        machine = psutil.virtual_memory()
        return {
            **found,
            "M1_vm_percent": machine.percent,
            "M1_percent": psutil.cpu_percent(),
            "M1_swap_percent": psutil.swap_memory().percent,
        }

    def teardown(self) -> None:
        """Give cached memory back to the device."""
        if MPSAccelerator.is_available():
            torch.mps.empty_cache()

    @staticmethod
    def parse_devices(devices: int | str | list[int]) -> list[int]:
        """The one index that there is."""
        return parse_indices(devices, int(MPSAccelerator.is_available()), "MPS device")

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """The device."""
        return [torch.device("mps", index) for index in MPSAccelerator.parse_devices(devices)]

    @staticmethod
    def auto_device_count() -> int:
        """There is one."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Whether this is an Apple processor, and a torch for it."""
        return torch.backends.mps.is_available()

    @staticmethod
    def name() -> str:
        """Its name in the registry."""
        return "mps"
