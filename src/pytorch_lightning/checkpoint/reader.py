"""The one reader of checkpoints; nothing in a file is ever run."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch


def read_checkpoint(
    path: str | Path | BinaryIO, map_location: Any = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint without running anything from it."""
    result: dict[str, Any] = torch.load(
        os.fspath(path) if isinstance(path, Path) else path, map_location, weights_only=True
    )
    return result
