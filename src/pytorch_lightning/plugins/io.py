"""What writes and reads checkpoints, under the documented path."""

from pytorch_lightning.checkpoint.io import (
    CheckpointIO,
    TorchCheckpointIO,
    _WrappingCheckpointIO,
)

__all__ = ["CheckpointIO", "TorchCheckpointIO", "_WrappingCheckpointIO"]
