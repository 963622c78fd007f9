"""Files and folders that are there whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import BinaryIO

from pytorch_lightning.checkpoint.exchange import exchange
from pytorch_lightning.checkpoint.remote_files import (
    StoreRefused,
    open_file_system,
    replace_remote,
)
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.leftovers import (
    remove_leftovers,
    remove_path,
    reserved_name,
    reserved_name_aside,
)
from pytorch_lightning.utilities.paths import is_remote
from pytorch_lightning.utilities.paths import local as local_path

__all__ = [
    "CheckpointWriteError",
    "is_remote",
    "local_path",
    "open_file_system",
    "place_folder",
    "remove_leftovers",
    "remove_path",
    "replace_file",
    "replace_with_folder",
    "replace_with_link",
    "reserved_folder",
]


class CheckpointWriteError(CheckpointError, OSError):
    """A checkpoint could not be written; the file that was there before is intact."""


def replace_file(
    path: str, write: Callable[[BinaryIO], None], *, part_of: str | None = None
) -> None:
    """Write a file under a temporary name beside its place, then move it there.

    Args:
        write: Writes the whole content into the open file that it is given.
        part_of: The checkpoint that errors name instead of the file.

    Raises:
        CheckpointWriteError: The file system refused; it is an `OSError` too.
    """
    with _refusals_named(part_of or path):
        if is_remote(path):
            replace_remote(path, write)
        else:
            _replace_local(os.path.abspath(local_path(path)), write)


@contextlib.contextmanager
def _refusals_named(path: str) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, StoreRefused) as error:
        cause = error.__cause__ if isinstance(error, StoreRefused) else error
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        failure = CheckpointWriteError(
            f"The checkpoint {path!r} could not be written: {reason}. What was there before is "
            "intact. Check the free space and the permissions of its folder."
        )
        failure.errno = getattr(cause, "errno", None)
        raise failure from cause


def _replace_local(path: str, write: Callable[[BinaryIO], None]) -> None:
    with _beside(path) as temporary:
        # 0o666 less the umask: what `open` gives, unlike the modules for temporary files
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(temporary, flags, 0o666), "wb", buffering=1 << 20) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        _place(temporary, path)


def replace_with_link(path: str, target: str) -> None:
    """Put a symbolic link in place of whatever is there.

    Raises:
        NotImplementedError: This system has no links.
        CheckpointWriteError: The file system refused.
    """
    with _refusals_named(path), _beside(path) as temporary:
        os.symlink(target, temporary)
        _place(temporary, path)


def replace_with_folder(path: str, source: str) -> None:
    """Put a copy of a folder in place of whatever is there.

    Raises:
        CheckpointWriteError: The file system refused.
    """
    with _refusals_named(path), _beside(path) as temporary:
        shutil.copytree(source, temporary)
        place_folder(temporary, path)


@contextlib.contextmanager
def _beside(path: str) -> Iterator[str]:
    """The path of a new thing beside another; what is left of it goes when that fails."""
    with reserved_folder(os.path.dirname(os.path.abspath(path))) as temporary:
        try:
            yield temporary
        except BaseException:
            with contextlib.suppress(OSError):
                remove_path(temporary)
            raise


@contextlib.contextmanager
def reserved_folder(parent: str) -> Iterator[str]:
    """The path of a new folder that nobody has made yet, beside where it will belong."""
    os.makedirs(parent, exist_ok=True)
    with contextlib.suppress(OSError):
        remove_leftovers(parent)
    with reserved_name() as name:
        yield os.path.join(parent, name)


def place_folder(temporary: str, path: str) -> None:
    """Move a finished folder to its place; what was there before goes when it is there."""
    for name in os.listdir(temporary):
        with open(os.path.join(temporary, name), "rb") as file:
            os.fsync(file.fileno())
    _sync_folder(temporary)
    _place(temporary, path)


def _place(temporary: str, path: str) -> None:
    """Move a finished file, link or folder over what is there, whatever that is."""
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.lexists(path) or not (_is_folder(path) or _is_folder(temporary)):
        os.replace(temporary, path)
        _sync_folder(folder)
    elif exchange(temporary, path):  # a rename replaces no folder that holds something
        _sync_folder(folder)
        with contextlib.suppress(OSError):  # the next writer tries again
            remove_path(temporary)
    else:
        with reserved_name_aside(os.path.basename(path)) as name:
            before = os.path.join(folder, name)
            os.rename(path, before)
            try:
                os.rename(temporary, path)
            except OSError:
                os.rename(before, path)
                raise
            _sync_folder(folder)
            with contextlib.suppress(OSError):
                remove_path(before)


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _sync_folder(folder: str) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems refuse to sync a folder; the file itself is safe by then.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
