"""Kinds of devices."""

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.accelerators.cpu import CPUAccelerator
from pytorch_lightning.accelerators.registry import AcceleratorRegistry

CPUAccelerator.register_accelerators(AcceleratorRegistry)

__all__ = ["Accelerator", "AcceleratorRegistry", "CPUAccelerator"]
