"""Checkpoints of tensors that live on XLA devices."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.utilities.tree import map_leaves


class XLACheckpointIO(TorchCheckpointIO):
    """The same file, with tensors brought to the CPU first, so that any machine reads it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if find_spec("torch_xla") is None:
            raise ModuleNotFoundError(
                "`XLACheckpointIO` needs the package torch_xla: `pip install torch_xla`."
            )
        super().__init__(*args, **kwargs)

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Bring the tensors to the CPU, then write one file."""
        there = map_leaves(checkpoint, Tensor, lambda tensor: tensor.cpu())
        super().save_checkpoint(there, path, storage_options)
