"""Several sources as one stream of batches."""

import math
from typing import Any

from pytorch_lightning.data.position import Source


def open_source(
    loaders: Any, *, mode: str = "max_size_cycle", limit: float = math.inf, rank: int = 0
) -> Source:
    """Open a loader, or a collection of loaders."""
    return Source(loaders, limit=limit, rank=rank)
