"""Files that are there whole or not at all."""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from pytorch_lightning.utilities.exceptions import CheckpointError

_PREFIX = ".saving-"
_SUFFIX = ".part"
_in_use: set[str] = set()


class CheckpointWriteError(CheckpointError, OSError):
    """A checkpoint could not be written; the file that was there before is intact."""


def is_remote(path: str) -> bool:
    """Whether a path needs fsspec."""
    return "://" in path and not path.startswith(("file://", "local://"))


def local_path(path: str) -> str:
    """A path of this machine without a scheme."""
    for scheme in ("file://", "local://"):
        if path.startswith(scheme):
            return path[len(scheme) :]
    return path


def replace_file(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Write a file under a temporary name beside its place, then move it there.

    Args:
        write: Writes the whole content into the open file that it is given.

    Raises:
        CheckpointWriteError: The file system refused; it is an `OSError` too.
    """
    try:
        if is_remote(path):
            _replace_remote(path, write)
        else:
            _replace_local(os.path.abspath(local_path(path)), write)
    except CheckpointWriteError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        failure = CheckpointWriteError(
            f"The checkpoint {path!r} could not be written: {reason}. What was there before is "
            "intact. Check the free space and the permissions of its folder."
        )
        failure.errno = error.errno
        raise failure from error


def _replace_local(path: str, write: Callable[[BinaryIO], None]) -> None:
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    with contextlib.suppress(OSError):
        remove_leftovers(folder)
    with _reserved_name(folder) as temporary:
        # 0o666 less the umask: what `open` gives, unlike the modules for temporary files
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            with open(os.open(temporary, flags, 0o666), "wb", buffering=1 << 20) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if os.path.isdir(path) and not os.path.islink(path):  # of a checkpoint in parts
                shutil.rmtree(path)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    _sync_folder(folder)


@contextlib.contextmanager
def _reserved_name(folder: str) -> Iterator[str]:
    name = f"{_PREFIX}{_host()}-{os.getpid()}-{os.urandom(4).hex()}{_SUFFIX}"
    _in_use.add(name)
    try:
        yield os.path.join(folder, name)
    finally:
        _in_use.discard(name)


@contextlib.contextmanager
def reserved_folder(parent: str) -> Iterator[str]:
    """The path of a new folder that nobody has made yet, beside where it will belong."""
    os.makedirs(parent, exist_ok=True)
    with contextlib.suppress(OSError):
        remove_leftovers(parent)
    with _reserved_name(parent) as temporary:
        yield temporary


def place_folder(temporary: str, path: str) -> None:
    """Move a finished folder to its place; what was there before goes when it is there."""
    for name in os.listdir(temporary):
        with open(os.path.join(temporary, name), "rb") as file:
            os.fsync(file.fileno())
    _sync_folder(temporary)
    parent = os.path.dirname(path)
    with _reserved_name(parent) as old:
        existed = os.path.lexists(path)
        if existed:  # no file system replaces a folder that holds something
            os.rename(path, old)
        os.rename(temporary, path)
        _sync_folder(parent)
        if existed:
            remove_path(old)


def remove_path(path: str) -> None:
    """Remove a file or a folder; a missing one is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:40]


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


def remove_leftovers(folder: str) -> list[str]:
    """Remove temporary files whose writers are dead, and say which."""
    removed = []
    mine = f"{_PREFIX}{_host()}-"
    for name in os.listdir(folder):
        if not (name.startswith(mine) and name.endswith(_SUFFIX)) or name in _in_use:
            continue
        process = name[len(mine) :].partition("-")[0]
        if process.isdigit() and not _writing(int(process)):
            with contextlib.suppress(OSError):
                remove_path(os.path.join(folder, name))
                removed.append(name)
    return removed


def _writing(process: int) -> bool:
    if process == os.getpid():  # not in use, so of an earlier process with this number
        return False
    if os.name == "nt":  # signal 0 would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _replace_remote(path: str, write: Callable[[BinaryIO], None]) -> None:
    file_system, place = open_file_system(path)
    folder = place.rpartition("/")[0]
    if folder:
        file_system.makedirs(folder, exist_ok=True)
    with _reserved_name(folder) as temporary:
        temporary = temporary.replace(os.sep, "/")
        try:
            with file_system.open(temporary, "wb") as file:
                write(file)
            file_system.mv(temporary, place)
        except BaseException:
            with contextlib.suppress(Exception):
                file_system.rm(temporary)
            raise


def open_file_system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    import fsspec  # type: ignore[import-untyped]

    file_system, place = fsspec.core.url_to_fs(path)
    return file_system, place
