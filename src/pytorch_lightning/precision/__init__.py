"""How numbers are kept."""

from pytorch_lightning.precision.double import DoublePrecision
from pytorch_lightning.precision.half import HalfPrecision
from pytorch_lightning.precision.mixed import MixedPrecision
from pytorch_lightning.precision.precision import Precision

__all__ = ["DoublePrecision", "HalfPrecision", "MixedPrecision", "Precision"]
