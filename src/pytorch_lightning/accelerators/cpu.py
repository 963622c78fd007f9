"""The processor that is always there."""

from __future__ import annotations

import importlib
from typing import Any

import torch

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class CPUAccelerator(Accelerator):
    """Computes on the CPU."""

    def setup_device(self, device: torch.device) -> None:
        """Refuse a device that is no CPU."""
        if device.type != "cpu":
            raise MisconfigurationException(
                f"`device={device}`: the CPU accelerator takes 'cpu' only. "
                "Pass the accelerator that belongs to the device."
            )

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, float]:
        """Utilization, memory and swap in percent."""
        try:
            psutil = importlib.import_module("psutil")
        except ImportError as error:
            raise ModuleNotFoundError(
                "CPU statistics need the package psutil: pip install psutil."
            ) from error
        return {
            "cpu_percent": psutil.cpu_percent(),
            "cpu_vm_percent": psutil.virtual_memory().percent,
            "cpu_swap_percent": psutil.swap_memory().percent,
        }

    def teardown(self) -> None:
        """Nothing was taken."""

    @staticmethod
    def parse_devices(devices: Any) -> int:
        """How many processes: a positive number, as an int or a string."""
        count = devices
        if isinstance(devices, str) and devices.strip().isdigit():
            count = int(devices)
        if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
            raise TypeError(
                f"`devices={devices!r}`: on the CPU this is a number of processes above 0. "
                "Pass devices=1 or 'auto'."
            )
        return count

    @staticmethod
    def get_parallel_devices(devices: int | str) -> list[torch.device]:
        """The CPU once for each process."""
        return [torch.device("cpu")] * CPUAccelerator.parse_devices(devices)

    @staticmethod
    def auto_device_count() -> int:
        """One process uses all the cores."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Always."""
        return True

    @staticmethod
    def name() -> str:
        """Its name in the registry."""
        return "cpu"
