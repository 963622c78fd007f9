"""Folders that DeepSpeed writes."""

import os

from pytorch_lightning.utilities.paths import PathLike

__all__ = ["ds_checkpoint_dir"]


def ds_checkpoint_dir(checkpoint_dir: PathLike, tag: str | None = None) -> str:
    """The folder below `checkpoint_dir` that holds the states of one step.

    Args:
        tag: Its name; the one that the file `latest` tells by default.
    """
    root = os.fspath(checkpoint_dir)
    if tag is None:
        latest = os.path.join(root, "latest")
        if not os.path.isfile(latest):
            raise ValueError(f"No file 'latest' in `checkpoint_dir={root!r}`: pass `tag`.")
        with open(latest) as file:
            tag = file.read().strip()
    folder = os.path.join(root, tag)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder!r}; check `checkpoint_dir` and `tag`.")
    return folder
