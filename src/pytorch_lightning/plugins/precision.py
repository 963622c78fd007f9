"""The precisions, under the documented path."""

from pytorch_lightning.precision import (
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
)

__all__ = ["DoublePrecision", "HalfPrecision", "MixedPrecision", "Precision"]
