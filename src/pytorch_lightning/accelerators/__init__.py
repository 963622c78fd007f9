"""Kinds of devices."""

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.accelerators.cpu import CPUAccelerator
from pytorch_lightning.accelerators.cuda import CUDAAccelerator, find_usable_cuda_devices
from pytorch_lightning.accelerators.mps import MPSAccelerator
from pytorch_lightning.accelerators.registry import (
    AcceleratorRegistry,
    call_register_accelerators,
)
from pytorch_lightning.accelerators.xla import XLAAccelerator

for _kind in (
    XLAAccelerator,
    CUDAAccelerator,
    MPSAccelerator,
    CPUAccelerator,
):  # the order of 'auto'
    _kind.register_accelerators(AcceleratorRegistry)

__all__ = [
    "Accelerator",
    "AcceleratorRegistry",
    "CPUAccelerator",
    "CUDAAccelerator",
    "MPSAccelerator",
    "XLAAccelerator",
    "call_register_accelerators",
    "find_usable_cuda_devices",
]
