"""Accelerators by name; those of other packages are looked for when a name is unknown."""

from __future__ import annotations

import importlib
import importlib.metadata
from inspect import isabstract, isclass
from typing import Any

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.utilities.registry import Entry, Registry

__all__ = ["AcceleratorRegistry", "Entry", "Registry", "call_register_accelerators"]

GROUPS = ("lightning.pytorch.accelerators", "pytorch_lightning.accelerators")


class _AcceleratorRegistry(Registry):
    def available_accelerators(self) -> set[str]:
        """The registered names."""
        return set(self)

    def find(self, name: str) -> bool:
        """Whether a name is registered, if need be by an installed package."""
        if name not in self:
            self.load_packages()
        return name in self

    def load_packages(self) -> None:
        """Let installed packages register what they bring.

        Their entry points in the group `pytorch_lightning.accelerators` name an `Accelerator`, or
        a function that takes the registry.
        """
        for group in GROUPS:
            for point in importlib.metadata.entry_points(group=group):
                _register(point.load(), self)


def _register(found: Any, registry: Registry) -> None:
    if not (isclass(found) and issubclass(found, Accelerator)):
        found(registry)
    elif found.name() not in registry:
        found.register_accelerators(registry)


AcceleratorRegistry = _AcceleratorRegistry("accelerator")


def call_register_accelerators(registry: Registry, base_module: str) -> None:
    """Register every accelerator that a module holds.

    Args:
        base_module: The dotted path of the module.
    """
    for found in vars(importlib.import_module(base_module)).values():
        if isclass(found) and issubclass(found, Accelerator) and not isabstract(found):
            _register(found, registry)
