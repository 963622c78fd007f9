"""One plain value out of a checkpoint, without its tensors."""

import os
from typing import Any

from pytorch_lightning.checkpoint.archive import Archive
from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS
from pytorch_lightning.checkpoint.unpickle import Machine

_CONTAINERS = {name: call for name, call in CALLS.items() if not name.startswith("torch")}


def read_value(path: str, key: str) -> Any:
    """The value of a top-level key; None for other keys and for what is no local checkpoint file.

    Args:
        key: Of a number or a text; anything else may come as a placeholder.
    """
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            archive = Archive(file, size, map_location="cpu", check_sums=False)
            content = Machine(_CONTAINERS, CONSTANTS, lambda _: None).run(archive.pickle())
    except Exception:  # whoever loads the file will say what is wrong with it
        return None
    return content.get(key) if isinstance(content, dict) else None
