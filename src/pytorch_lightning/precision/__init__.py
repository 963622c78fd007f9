"""How numbers are kept."""

from pytorch_lightning.precision.bitsandbytes import BitsandbytesPrecision
from pytorch_lightning.precision.deepspeed import DeepSpeedPrecision
from pytorch_lightning.precision.double import DoublePrecision
from pytorch_lightning.precision.fsdp import FSDPPrecision
from pytorch_lightning.precision.half import HalfPrecision
from pytorch_lightning.precision.mixed import MixedPrecision
from pytorch_lightning.precision.precision import Precision
from pytorch_lightning.precision.torchao import TorchAOPrecision
from pytorch_lightning.precision.transformer_engine import TransformerEnginePrecision
from pytorch_lightning.precision.xla import XLAPrecision

__all__ = [
    "BitsandbytesPrecision",
    "DeepSpeedPrecision",
    "DoublePrecision",
    "FSDPPrecision",
    "HalfPrecision",
    "MixedPrecision",
    "Precision",
    "TorchAOPrecision",
    "TransformerEnginePrecision",
    "XLAPrecision",
]
