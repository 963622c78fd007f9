"""Files of DeepSpeed, looked through before the program that runs what they hold reads them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pytorch_lightning.checkpoint.archive import Archive
from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS
from pytorch_lightning.checkpoint.tensors import CALLS as OF_TENSORS
from pytorch_lightning.checkpoint.tensors import STORAGES, Storage, new_storage
from pytorch_lightning.checkpoint.unpickle import Inert, Machine, Malformed
from pytorch_lightning.utilities.exceptions import CheckpointError

# Plain classes of DeepSpeed that its files hold beside tensors; making one sets attributes alone.
_THEIRS = frozenset(
    (
        "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
        "deepspeed.runtime.fp16.loss_scaler.LossScaler",
        "deepspeed.runtime.zero.config.ZeroStageEnum",
        "deepspeed.utils.tensor_fragment.fragment_address",
    )
)
_TYPES = frozenset(("torch.Tensor", "torch.nn.parameter.Parameter"))
_MAKERS: dict[str, Callable[..., Any]] = {
    **OF_TENSORS,
    "collections.OrderedDict": CALLS["collections.OrderedDict"],
}


class _Names(dict[str, Any]):
    """Answers whether a name stands for a constant, and refuses those that are not expected."""

    def __contains__(self, name: object) -> bool:
        if super().__contains__(name):
            return True
        if not (name in _THEIRS or name in _TYPES or name in _MAKERS or name in STORAGES):
            raise Malformed(f"a `{name}`, which DeepSpeed does not need")
        return False


def check_folder(folder: str | Path) -> None:
    """Make sure that the states in a folder name nothing but tensors and classes of DeepSpeed.

    Raises:
        CheckpointError: One does, or is no file of `torch.save`.
    """
    for path in sorted(Path(folder).glob("*.pt")):
        try:
            if not path.is_file():
                raise Malformed("a device or a pipe")
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                archive = Archive(file, size, map_location="meta", check_sums=False)
                Machine(_MAKERS, _Names(CONSTANTS), _no_content, size).run(archive.pickle())
        except Exception as error:
            raise CheckpointError(
                f"{str(path)!r}: DeepSpeed would read this file with `pickle`, and it holds "
                f"{error}. Nothing was loaded. If you trust whoever made it, pass "
                "`weights_only=False`."
            ) from error


def _no_content(reference: Any) -> Storage:
    """A storage of the right size without bytes: only what is said about them matters here."""
    tag, kind, _, _, count = reference
    dtype = STORAGES.get(kind.name) if isinstance(kind, Inert) else None
    if tag != "storage" or dtype is None or type(count) is not int or count < 0:
        raise Malformed("a reference to what is no storage")
    return Storage(new_storage(count * dtype.itemsize, torch.device("meta")), dtype)
