"""The one reader of checkpoints; nothing in a file is ever run."""

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from pytorch_lightning.checkpoint.archive import Archive, Damaged
from pytorch_lightning.checkpoint.atomic import is_remote, local_path, open_file_system
from pytorch_lightning.checkpoint.download import downloaded
from pytorch_lightning.checkpoint.legacy import is_legacy, read_legacy
from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS
from pytorch_lightning.checkpoint.plain import from_plain
from pytorch_lightning.checkpoint.rebuild import Refused, Resolver, refuse
from pytorch_lightning.checkpoint.seal import ends_as_written, hash_before_seal, seal_of
from pytorch_lightning.checkpoint.unpickle import Inert, Machine, Malformed
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import warnings_given


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no file of that name."""


def read_checkpoint(
    path: str | Path | BinaryIO, map_location: Any = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """Read a checkpoint of this or an earlier release without running anything from it.

    Args:
        path: A file, an fsspec or http(s) URL, or an open file.
        map_location: As for `torch.load`; None is where the tensors were, or the CPU where this
            machine lacks that device.
        weights_only: False is your word that you trust the file: it may then run code.

    Raises:
        CheckpointError: The file is no checkpoint, is damaged, or holds more than data.
        CheckpointNotFoundError: There is no such file; it is a `FileNotFoundError` too.
    """
    if weights_only is not False:
        _warn_of_torch()
    with _opened(path) as (file, name):
        size = file.seek(0, os.SEEK_END)
        try:
            _check_whole(file, size, name)
            file.seek(0)
            if weights_only is False:
                content = torch.load(file, map_location, weights_only=False)
            else:
                content = _read(file, size, name, map_location)
        except CheckpointError:
            raise
        except Exception as error:
            raise _unreadable(name, error) from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{name!r} holds a {type(content).__name__}, and a checkpoint is a dictionary. Pass a "
            "file that `Trainer.save_checkpoint` or `torch.save({...})` wrote."
        )
    if weights_only is False:
        return content
    try:
        restored: dict[str, Any] = from_plain(content)
    except CheckpointError as error:
        raise CheckpointError(f"{name!r}: {error}") from error.__cause__
    return restored


def _warn_of_torch() -> None:
    """Say once that this torch has a reader with a hole; other programs here may use it."""
    if (*map(int, torch.__version__.split(".")[:2]),) < (2, 10):
        warnings_given.warn(
            f"`torch.load(weights_only=True)` of torch {torch.__version__} can be made to write "
            "where it should not (CVE-2026-24747). This reader does not use it, but tools around "
            "it may: update to torch 2.10 or later before you open files of strangers."
        )


def verify_checkpoint(path: str | Path) -> None:
    """Make sure that a checkpoint is whole, by its hash; by reading it where it carries none.

    Raises:
        CheckpointError: It is not.
    """
    with _opened(path) as (file, name):
        size = file.seek(0, os.SEEK_END)
        _check_whole(file, size, name)
        sealed = seal_of(file, size) is not None
    if not sealed:
        read_checkpoint(path, "cpu")


def _read(file: BinaryIO, size: int, name: str, map_location: Any) -> Any:
    resolve = Resolver()
    if is_legacy(file):
        left = read_legacy(file, size, map_location)
    else:
        sealed = seal_of(file, size) is not None
        archive = Archive(file, size, map_location=map_location, check_sums=not sealed)
        machine = Machine(CALLS, CONSTANTS, archive.persistent, size)
        left = machine.run(archive.pickle())
    if isinstance(left, dict):
        _name_what_is_not_data(left)
    try:
        return resolve(left)
    except Refused as refusal:
        raise refuse(name, refusal.where("checkpoint"), refusal) from None


def _name_what_is_not_data(content: dict[Any, Any]) -> None:
    """Turn what releases kept as classes and functions, and no program needs, into names."""
    callbacks = content.get("callbacks")
    if isinstance(callbacks, dict):
        content["callbacks"] = {
            key.name if isinstance(key, Inert) and not key.made else key: state
            for key, state in callbacks.items()
        }
    for key in ("hparams_type", "datamodule_hparams_type"):
        kind = content.get(key)
        if isinstance(kind, Inert) and not kind.made:
            content[key] = kind.name
    schedulers = content.get("lr_schedulers")
    for state in schedulers if isinstance(schedulers, list) else ():
        for key, value in list(state.items()) if isinstance(state, dict) else ():
            # OneCycleLR and CyclicLR of earlier torch kept their own functions there
            if isinstance(value, Inert) and (value.name + ".").startswith(
                ("torch.optim.lr_scheduler.", "builtins.getattr.")
            ):
                del state[key]


@contextlib.contextmanager
def _opened(path: str | Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    if not isinstance(path, str | os.PathLike):
        if not (hasattr(path, "read") and hasattr(path, "seek")):
            raise TypeError(
                f"`path={path!r}`: pass a path, a URL or an open file, not a {type(path).__name__}."
            )
        yield path, str(getattr(path, "name", "<open file>"))
        return
    name = os.fspath(path)
    if name.startswith(("http://", "https://")):
        with downloaded(name) as file:
            yield file, name
        return
    with _open(name) as file:
        yield file, name


def _open(name: str) -> BinaryIO:
    try:
        if is_remote(name):
            file_system, place = open_file_system(name)
            return cast(BinaryIO, file_system.open(place, "rb"))
        if os.path.isdir(local_path(name)):
            raise CheckpointError(
                f"{name!r} is a folder, and a checkpoint of one file was expected."
                f"{_files_nearby(local_path(name))}"
            )
        if not stat.S_ISREG(os.stat(local_path(name)).st_mode):
            raise CheckpointError(f"{name!r} is no file but a device, a pipe or a socket.")
        return open(local_path(name), "rb")
    except FileNotFoundError:
        folder = "" if is_remote(name) else os.path.dirname(os.path.abspath(local_path(name)))
        raise CheckpointNotFoundError(
            f"There is no checkpoint {name!r}.{_files_nearby(folder)}"
        ) from None
    except (OSError, ImportError, ValueError) as error:
        raise CheckpointError(f"{name!r} could not be opened: {error}") from error


def _files_nearby(folder: str) -> str:
    if not os.path.isdir(folder):
        return f" Its folder {folder!r} does not exist either." if folder else ""
    names = sorted(n for n in os.listdir(folder) if n.endswith((".ckpt", ".pt", ".pth")))
    if not names:
        return f" {folder!r} holds no checkpoints."
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f" {folder!r} holds {', '.join(names[:10])}{more}."


def _check_whole(file: BinaryIO, size: int, name: str) -> None:
    """Notice the kinds of damage that can be named before anything is read."""
    if size == 0:
        raise CheckpointError(
            f"{name!r} is empty (0 bytes): whatever wrote or copied it was stopped. Use an "
            "earlier checkpoint."
        )
    seal = seal_of(file, size)
    if seal is not None and seal != hash_before_seal(file, size):
        raise CheckpointError(
            f"{name!r} is damaged: its content is not what was written (sha256 differs). Copy it "
            "anew, or use an earlier checkpoint."
        )
    file.seek(0)
    start = file.read(4)
    file.seek(0)
    if start == b"PK\x03\x04" and seal is None and not ends_as_written(file, size):
        raise CheckpointError(
            f"{name!r} is cut off after {size} bytes, or its end is damaged. Copy or download it "
            "anew, or use an earlier checkpoint."
        )
    if start != b"PK\x03\x04" and not is_legacy(file):
        raise CheckpointError(
            f"{name!r} is not a checkpoint: it starts with {start!r}, and files of `torch.save` "
            f"do not.{_what_else(file, size)}"
        )


def _what_else(file: BinaryIO, size: int) -> str:
    """What a file that is no checkpoint looks like, and who reads it."""
    file.seek(0)
    start = file.read(300)
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < size:
        return " It looks like safetensors: `model.load_state_dict(load_file(path))` reads weights."
    if start[257:262] == b"ustar":
        return " It is a tar archive: unpack it, or save it anew with a torch of today."
    if start.lstrip()[:1] == b"<":
        return " It looks like a page of the web: fetch the file itself."
    if start.startswith(b"version https://git-lfs"):
        return " It is a pointer of git-lfs: run `git lfs pull`."
    if start.startswith(b"\x1f\x8b"):
        return " It is compressed: `gunzip` it."
    return ""


def _unreadable(name: str, error: Exception) -> CheckpointError:
    if isinstance(error, Damaged):
        return CheckpointError(
            f"{name!r} is damaged: the record {error} is not what was written (check sum "
            "differs). Copy it anew, or use an earlier checkpoint."
        )
    if isinstance(error, Malformed | zipfile.BadZipFile):
        return CheckpointError(f"{name!r} is not a checkpoint, or is damaged: it holds {error}.")
    kind = type(error).__name__
    return CheckpointError(f"{name!r} could not be read as a checkpoint ({kind}: {error}).")
