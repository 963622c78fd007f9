"""Accelerators by name."""

from pytorch_lightning.utilities.registry import Entry, Registry

__all__ = ["AcceleratorRegistry", "Entry", "Registry"]


class _AcceleratorRegistry(Registry):
    def available_accelerators(self) -> set[str]:
        """The registered names."""
        return set(self)


AcceleratorRegistry = _AcceleratorRegistry("accelerator")
