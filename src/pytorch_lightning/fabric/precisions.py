"""`precision=` to the object that keeps the numbers."""

from __future__ import annotations

import torch

from pytorch_lightning.precision import (
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
    TransformerEnginePrecision,
)
from pytorch_lightning.precision.names import canonical_precision
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def resolve_precision(
    precision: str | int | None, plugin: Precision | None, strategy: Strategy
) -> Precision:
    """The precision that was given or named, in the strategy's own kind where it has one."""
    device = strategy.root_device
    if plugin is not None:
        if precision is not None:
            raise ValueError(
                f"`precision={precision!r}` and `plugins={type(plugin).__name__}(...)` both choose "
                "the precision. Choose one."
            )
        check_device(plugin, device)
        return plugin
    name = canonical_precision(precision)
    if name == "64-true" and device.type == "mps":
        raise MisconfigurationException(
            f"`precision={precision!r}`: the GPU of Apple has no 64 bits. Pass precision='32-true' "
            "or accelerator='cpu'."
        )
    if name.startswith("transformer-engine") and device.type != "cuda":
        raise _needs("transformer-engine", ("cuda",), device)
    return strategy.make_precision(name) or _make(name, device)


def _make(name: str, device: torch.device) -> Precision:
    if name == "64-true":
        return DoublePrecision()
    if name in ("16-mixed", "bf16-mixed"):
        return MixedPrecision(name, device.type)
    if name in ("16-true", "bf16-true"):
        return HalfPrecision(name)  # type: ignore[arg-type]  # one of the literals
    if name == "transformer-engine":
        return TransformerEnginePrecision(weights_dtype=torch.bfloat16)
    if name == "transformer-engine-float16":
        return TransformerEnginePrecision(weights_dtype=torch.float16)
    return Precision()


def check_device(precision: Precision, device: torch.device) -> None:
    """Refuse a precision that was made for other devices."""
    types = precision.device_types
    if types is not None and device.type not in types:
        raise _needs(type(precision).__name__, types, device)


def _needs(name: str, types: tuple[str, ...], device: torch.device) -> Exception:
    return MisconfigurationException(
        f"`precision`: {name} is for {' or '.join(map(repr, types))}, and this run is on "
        f"'{device.type}'. Pass another accelerator, or another precision."
    )
