"""The format of `torch.save` before torch 1.6: pickles in a row, then the storages."""

import ctypes
import os
import struct
from typing import Any, BinaryIO

import torch

from pytorch_lightning.checkpoint import tensors
from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS
from pytorch_lightning.checkpoint.unpickle import Inert, Machine, Malformed

_MAGIC = 0x1950A86A20F9469CFC6C
_START = b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little") + b"."


def is_legacy(file: BinaryIO) -> bool:
    """Whether a file starts as this format does; it is left at its start."""
    file.seek(0)
    start = file.read(len(_START))
    file.seek(0)
    return start == _START


def read_legacy(file: BinaryIO, size: int, map_location: Any) -> Any:
    """What the file describes, with storages filled and names still inert."""
    storages = _Storages(size, map_location)
    for _ in range(3):  # magic number, version, word sizes
        Machine({}, {}, storages).run(file)
    start = file.tell()
    Machine({}, {}, storages, size).run(file)  # to learn which storages there are
    storages.fill(file, Machine({}, {}, storages, size).run(file))
    file.seek(start)
    return Machine(CALLS, CONSTANTS, storages, size).run(file)


class _Storages:
    def __init__(self, size: int, map_location: Any) -> None:
        self._left = size
        self._map_location = map_location
        self._known: dict[str, tensors.Storage] = {}
        self._locations: dict[str, str] = {}

    def __call__(self, reference: Any) -> Any:
        if isinstance(reference, tuple) and len(reference) == 4 and reference[0] == "module":
            return reference[1]  # a class with its source code: only the class's name counts
        if not (isinstance(reference, tuple) and len(reference) == 6):
            raise Malformed("a reference to what is no storage")
        tag, kind, key, location, count, view = reference
        dtype = tensors.STORAGES.get(kind.name) if isinstance(kind, Inert) else None
        if tag != "storage" or dtype is None or not isinstance(key, str) or view is not None:
            raise Malformed("a reference to what is no storage")
        if key not in self._known:
            self._known[key] = self._make(dtype, location, count)
            self._locations[key] = location
        return self._known[key]

    def _make(self, dtype: torch.dtype, location: Any, count: Any) -> tensors.Storage:
        if type(count) is not int or count < 0 or not isinstance(location, str):
            raise Malformed("a storage without a size")
        self._left -= count * dtype.itemsize
        if self._left < 0:
            raise Malformed("storages that are larger than the file")
        return tensors.Storage(tensors.new_storage(count * dtype.itemsize), dtype)

    def fill(self, file: BinaryIO, keys: Any) -> None:
        """Read the numbers of each storage, in the file's order."""
        if not isinstance(keys, list) or set(keys) != set(self._known):
            raise Malformed("storages that nothing refers to, or that are missing")
        for key in keys:
            content, dtype = self._known[key].bytes, self._known[key].dtype
            (written,) = struct.unpack("<q", file.read(8))
            if written * dtype.itemsize != content.nbytes():
                raise Malformed("a storage whose size is not the one that was announced")
            if content.nbytes():
                memory = (ctypes.c_ubyte * content.nbytes()).from_address(content.data_ptr())
                data = file.read(content.nbytes())
                if len(data) != content.nbytes():
                    raise Malformed("a storage that is cut off")
                ctypes.memmove(memory, data, len(data))
            placed = tensors.place(content, self._locations[key], self._map_location)
            self._known[key] = tensors.Storage(placed, dtype)
        if file.tell() != file.seek(0, os.SEEK_END):
            raise Malformed("more than the storages")
