"""Objects behind fsspec URLs that are there whole or not at all."""

import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, cast

from pytorch_lightning.utilities.leftovers import is_abandoned, reserved_name

_PATIENCE = 3.0  # some stores show a new object a moment later


class StoreRefused(Exception):
    """A store raised something of its own, which is the cause of this."""


def open_file_system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it."""
    import fsspec  # type: ignore[import-untyped]

    file_system, place = fsspec.core.url_to_fs(path)
    return file_system, place


def replace_remote(path: str, write: Callable[[BinaryIO], None]) -> None:
    """Write under a temporary name, make sure that all of it is there, then move it.

    A move is a copy and a removal in object stores, where a copy comes into being whole. The
    temporary name is needed even so: a file that is closed after an error keeps what it got.

    Raises:
        StoreRefused: The store raised an error.
    """
    with _refusals():
        file_system, place = open_file_system(path)
        folder = place.rpartition("/")[0]
        if folder:
            file_system.makedirs(folder, exist_ok=True)
        _remove_leftovers(file_system, folder)
    with reserved_name() as name:
        temporary = f"{folder}/{name}" if folder else name
        try:
            size = _write_through(file_system, temporary, write)
            with _refusals():
                _check_size(file_system, temporary, size)
                file_system.mv(temporary, place)
                _check_size(file_system, place, size)
        except BaseException:
            with contextlib.suppress(Exception):
                file_system.rm(temporary)
            raise


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # stores have classes of their own, beside OSError
        raise StoreRefused(str(error)) from error


def _write_through(file_system: Any, path: str, write: Callable[[BinaryIO], None]) -> int:
    with _refusals():
        counted = _Counted(file_system.open(path, "wb"))
    try:
        write(cast(BinaryIO, counted))
    except BaseException as error:
        with contextlib.suppress(Exception):
            counted.file.close()
        if counted.error is not None:
            raise StoreRefused(str(counted.error)) from (
                error if error is counted.error else counted.error
            )
        raise
    with _refusals():
        counted.file.close()
    return counted.size


class _Counted:
    """A file that counts what is written to it, and remembers what it refused."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.size = 0
        self.error: Exception | None = None

    def write(self, data: Any) -> Any:
        """Write a bytes-like object."""
        try:
            written = self.file.write(data)
        except Exception as error:
            self.error = self.error or error
            raise
        self.size += len(data)
        return written

    def flush(self) -> None:
        """Flush what was written so far."""
        self.file.flush()


def _check_size(file_system: Any, path: str, size: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        file_system.invalidate_cache(path.rpartition("/")[0])
        try:
            found = file_system.size(path)
            break
        except FileNotFoundError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    if found is not None and found != size:  # None: a store that does not know
        raise OSError(f"{found} of {size} bytes arrived at {path!r}")


def _remove_leftovers(file_system: Any, folder: str) -> None:
    """Remove temporary objects whose writers are dead."""
    with contextlib.suppress(Exception):  # not to be listed or removed: they do no harm
        file_system.invalidate_cache(folder)
        for place in file_system.ls(folder, detail=False):
            name = str(place).rstrip("/").rpartition("/")[2]
            if is_abandoned(name, partial(_touched, file_system, place)):
                file_system.rm(place)


def _touched(file_system: Any, place: str) -> float:
    return float(file_system.modified(place).timestamp())
