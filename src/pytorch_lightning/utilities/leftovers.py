"""Temporary names beside files, and what becomes of those whose writers died."""

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

_PREFIX = ".saving-"
_SUFFIX = ".part"
_ASIDE = ".replaced-"
_A_DAY = 24 * 3600.0  # nobody writes a file that long without touching it
_in_use: set[str] = set()


@contextlib.contextmanager
def reserved_name() -> Iterator[str]:
    """A name for a file or folder that nobody has made yet; it tells who made it."""
    with _using(f"{_PREFIX}{_stamp()}{_SUFFIX}") as name:
        yield name


@contextlib.contextmanager
def reserved_name_aside(original: str) -> Iterator[str]:
    """A name for what has to make way for something else, from which it can come back."""
    with _using(f"{_ASIDE}{_stamp()}-{original}") as name:
        yield name


@contextlib.contextmanager
def _using(name: str) -> Iterator[str]:
    _in_use.add(name)
    try:
        yield name
    finally:
        _in_use.discard(name)


def remove_path(path: str) -> None:
    """Remove a file or a folder, at once for whoever looks; a missing one is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        with reserved_name() as name:  # half a folder must not keep its name
            doomed = os.path.join(os.path.dirname(path), name)
            os.rename(path, doomed)
            shutil.rmtree(doomed)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def remove_leftovers(folder: str) -> list[str]:
    """Remove temporary files whose writers are dead, and say which.

    What had made way for something that never came gets its name back.
    """
    removed = []
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if is_abandoned(name, partial(os.path.getmtime, path)):
            with contextlib.suppress(OSError):
                _clear(path, _original_of(name))
                removed.append(name)
    return removed


def _clear(path: str, original: str) -> None:
    before = os.path.join(os.path.dirname(path), original)
    if original and not os.path.lexists(before):
        os.rename(path, before)
    elif os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)


def is_abandoned(name: str, touched: Callable[[], float]) -> bool:
    """Whether this is a temporary name whose writer is dead.

    Args:
        touched: When the file was written to; asked where the writer's machine is another one.
    """
    if name in _in_use:
        return False
    if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
        stamp = name[len(_PREFIX) : -len(_SUFFIX)]
    elif name.startswith(_ASIDE):
        stamp = name[len(_ASIDE) :]
    else:
        return False
    host, writer, *rest = [*stamp.split("-"), ""]
    pid, _, start = writer.partition(".")
    if not rest or not pid.isdigit():
        return False
    if host == _host():
        return not _is_running(int(pid), start)
    with contextlib.suppress(OSError):
        return time.time() - touched() > _A_DAY
    return False


def _original_of(name: str) -> str:
    return name[len(_ASIDE) :].split("-", 3)[3] if name.startswith(_ASIDE) else ""


def _stamp() -> str:
    writer = f"{os.getpid()}.{_start_of(os.getpid()) or ''}".rstrip(".")
    return f"{_host()}-{writer}-{os.urandom(4).hex()}"


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:40]


def _is_running(pid: int, start: str) -> bool:
    if pid == os.getpid():  # not in use, so of an earlier process with this number
        return False
    if os.name == "nt":  # signal 0 would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    now = _start_of(pid)
    return now != "" and (not start or now is None or now == start)


def _start_of(pid: int) -> str | None:
    """When a process began, as the kernel counts; empty when it is dead, None if unknown.

    Numbers of processes come again, soon where each container counts its own.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return "" if fields[0] in ("Z", "X") else fields[19]
