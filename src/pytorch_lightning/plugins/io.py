"""What writes and reads checkpoints, under the documented path."""

from pytorch_lightning.checkpoint.async_io import AsyncCheckpointIO
from pytorch_lightning.checkpoint.io import (
    CheckpointIO,
    TorchCheckpointIO,
    _WrappingCheckpointIO,
)
from pytorch_lightning.checkpoint.xla import XLACheckpointIO

__all__ = [
    "AsyncCheckpointIO",
    "CheckpointIO",
    "TorchCheckpointIO",
    "XLACheckpointIO",
    "_WrappingCheckpointIO",
]
