"""Whether processes see each other's files."""

import os
import time
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from pytorch_lightning.utilities import paths


class _Group(Protocol):
    def broadcast(self, obj: Any, src: int = 0) -> Any: ...
    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool: ...
    def barrier(self, name: str | None = None) -> None: ...


def is_shared_filesystem(
    strategy: _Group, path: str | Path | None = None, timeout: int = 3
) -> bool:
    """Whether a folder that one process sees is the same for all processes.

    Args:
        path: The folder; the current one by default.
        timeout: How many seconds a file may take to show up elsewhere.
    """
    if path is not None and paths.is_remote(path):
        return True
    folder = Path(paths.local(path)) if path is not None else Path.cwd()
    if not folder.exists():
        raise FileNotFoundError(f"`path={str(path)!r}` does not exist: pass an existing folder.")
    if getattr(strategy, "world_size", 1) == 1:
        return True
    folder = folder if folder.is_dir() else folder.parent
    marker = folder / strategy.broadcast(f".shared-{uuid4().hex}")
    is_first = bool(getattr(strategy, "is_global_zero", True))
    try:
        if is_first:
            marker.touch()
        strategy.barrier()
        seen = _appears(marker, timeout)
        return strategy.reduce_boolean_decision(seen, all=True)
    finally:
        if is_first:
            marker.unlink(missing_ok=True)


def _appears(path: Path, timeout: float) -> bool:
    end = time.monotonic() + timeout
    while not os.path.exists(path):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
