"""The precisions, under the documented path."""

from pytorch_lightning.precision import (
    BitsandbytesPrecision,
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
    TorchAOPrecision,
    TransformerEnginePrecision,
    XLAPrecision,
)

__all__ = [
    "BitsandbytesPrecision",
    "DoublePrecision",
    "HalfPrecision",
    "MixedPrecision",
    "Precision",
    "TorchAOPrecision",
    "TransformerEnginePrecision",
    "XLAPrecision",
]
