"""A store behind fsspec that keeps whole objects in a folder, and fails when it is told to."""

import os
import signal
from datetime import datetime, timezone

from fsspec import AbstractFileSystem, register_implementation


class StoreError(Exception):
    """What a client of a store raises; no `OSError`."""


class Store(AbstractFileSystem):
    """Objects are files of a folder; a move is a copy and a removal, as in most stores.

    `plan` maps a verb ("open", "write", "close", "copy", "rm", "info", "ls") to an exception, or to
    a function that is called. `calls` counts all of them, and at `die_at` the process is killed.
    """

    protocol = "store"
    cachable = False
    plan = {}
    calls = 0
    die_at = None
    hidden = {}  # path to how often it is not seen yet
    delay = 0  # how often a new object is not seen
    loses = 0  # bytes at the end of each object that never arrive

    @classmethod
    def heal(cls):
        cls.plan, cls.calls, cls.die_at, cls.hidden = {}, 0, None, {}
        cls.delay = cls.loses = 0

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("store://").strip("/")

    def _asked(self, verb):
        if Store.calls == Store.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        Store.calls += 1
        fault = Store.plan.get(verb)
        if isinstance(fault, BaseException):
            raise fault
        if fault is not None:
            fault()

    def _seen(self, path):
        left = Store.hidden.get(path, 0)
        Store.hidden[path] = left - 1
        return left <= 0

    def makedirs(self, path, exist_ok=False):
        os.makedirs(self._strip_protocol(path), exist_ok=exist_ok)

    def info(self, path, **kwargs):
        self._asked("info")
        path = self._strip_protocol(path)
        if not os.path.exists(path) or not self._seen(path):
            raise FileNotFoundError(path)
        kind = "directory" if os.path.isdir(path) else "file"
        return {"name": path, "type": kind, "size": os.path.getsize(path)}

    def ls(self, path, detail=True, **kwargs):
        self._asked("ls")
        path = self._strip_protocol(path)
        found = [os.path.join(path, name) for name in sorted(os.listdir(path))]
        return [self.info(name) for name in found] if detail else found

    def modified(self, path):
        return datetime.fromtimestamp(os.path.getmtime(path), timezone.utc)

    def cp_file(self, path1, path2, **kwargs):
        self._asked("copy")
        path1, path2 = self._strip_protocol(path1), self._strip_protocol(path2)
        with open(path1, "rb") as file:
            content = file.read()
        with open(f"{path2}.arriving", "wb") as file:
            file.write(content)
        os.replace(f"{path2}.arriving", path2)

    def rm_file(self, path):
        self._asked("rm")
        os.unlink(self._strip_protocol(path))

    _rm = rm_file

    def _open(self, path, mode="rb", **kwargs):
        self._asked("open")
        path = self._strip_protocol(path)
        return open(path, "rb") if mode == "rb" else _Upload(self, path)


class _Upload:
    """An object comes into being when its file is closed, whatever became of the writes."""

    def __init__(self, store, path):
        self._store, self._path, self._parts = store, path, []

    def write(self, data):
        self._store._asked("write")
        self._parts.append(bytes(data))
        return len(data)

    def flush(self):
        pass

    def close(self):
        self._store._asked("close")
        content = b"".join(self._parts)
        with open(self._path, "wb") as file:
            file.write(content[: len(content) - Store.loses])
        Store.hidden[self._path] = Store.delay


register_implementation("store", Store, clobber=True)
