"""Layers that are exchanged for others of the same shape."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import nn


def exchange_layers(
    module: nn.Module,
    make: Callable[[nn.Module], nn.Module | None],
    ignored: Collection[str] = (),
) -> int:
    """Exchange layers in place.

    Args:
        make: Gets a layer and returns the one to put there, or None to leave it.
        ignored: Beginnings of dotted names that are left as they are.

    Returns:
        How many layers were exchanged.
    """
    exchanged: dict[nn.Module, nn.Module] = {}
    for path, parent in list(module.named_modules()):
        for name, child in list(parent._modules.items()):  # `named_children` leaves out repeats
            full = f"{path}.{name}" if path else name
            if child is None or _is_below(full, ignored):
                continue
            new = exchanged.get(child) or make(child)
            if new is not None:
                exchanged[child] = new
                setattr(parent, name, new)
    return len(exchanged)


def _is_below(name: str, prefixes: Collection[str]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
