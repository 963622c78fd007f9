"""The archive of a checkpoint: its records, checked, and the storages in them."""

import ctypes
import struct
import sys
import zipfile
import zlib
from typing import Any, BinaryIO, cast

import torch

from pytorch_lightning.checkpoint import tensors
from pytorch_lightning.checkpoint.unpickle import Inert, Malformed

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_LARGEST_PICKLE = 256 << 20
_CHUNK = 1 << 24


class Archive:
    """A zip archive as `torch.save` writes it, read without any of torch's own reader.

    Args:
        size: How many bytes the file has.
        check_sums: Whether each record is compared with its own check sum.
    """

    def __init__(self, file: BinaryIO, size: int, *, map_location: Any, check_sums: bool) -> None:
        self._file = file
        self.size = size
        self._map_location = map_location
        _check_length_of_list(file, size)
        entries = zipfile.ZipFile(file).infolist()
        _check_places(entries, size)
        pickles = [e.filename for e in entries if e.filename.count("/") == 1]
        roots = [name[: -len("data.pkl")] for name in pickles if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise Malformed("a zip archive, but not one that `torch.save` wrote")
        self._records = {e.filename: e for e in entries if e.filename.startswith(roots[0])}
        if len(self._records) != sum(e.filename.startswith(roots[0]) for e in entries):
            raise Malformed("two records of one name")
        self._root = roots[0]
        self._storages: dict[str, tensors.Storage] = {}
        if roots[0] + "constants.pkl" in self._records:
            raise Malformed("a TorchScript program; `torch.jit.load` reads those")
        self._check_sums = check_sums and self._has_check_sums()
        self._swap = self._is_from_other_order()

    def pickle(self) -> bytes:
        """The pickle that describes everything but the numbers in tensors."""
        entry = self._records[self._root + "data.pkl"]
        if entry.file_size > _LARGEST_PICKLE:
            raise Malformed(f"a pickle of more than {_LARGEST_PICKLE} bytes")
        return self._read(entry)

    def persistent(self, reference: Any) -> tensors.Storage:
        """The storage that a pickle refers to."""
        if not (isinstance(reference, tuple) and len(reference) == 5):
            raise Malformed("a reference to what is no storage")
        tag, kind, key, location, count = reference
        dtype = tensors.STORAGES.get(kind.name) if isinstance(kind, Inert) else None
        if tag != "storage" or dtype is None or not isinstance(key, str):
            raise Malformed("a reference to what is no storage")
        known = self._storages.get(key)
        if known is None:
            known = self._load(key, location, dtype)
            self._storages[key] = known
        if type(count) is not int or count * dtype.itemsize != known.bytes.nbytes():
            raise Malformed("a storage whose size is not that of its record")
        return known if known.dtype is dtype else tensors.Storage(known.bytes, dtype)

    def _load(self, key: str, location: Any, dtype: torch.dtype) -> tensors.Storage:
        entry = self._records.get(f"{self._root}data/{key}")
        if entry is None or not isinstance(location, str):
            raise Malformed("a storage without a record")
        content = tensors.new_storage(entry.file_size)
        if entry.file_size:
            memory = (ctypes.c_ubyte * entry.file_size).from_address(content.data_ptr())
            self._read_into(entry, memoryview(memory).cast("B"))
        if self._swap:
            cast(Any, content).byteswap(dtype)
        return tensors.Storage(tensors.place(content, location, self._map_location), dtype)

    def _read(self, entry: zipfile.ZipInfo) -> bytes:
        self._seek(entry)
        content = self._file.read(entry.file_size)
        if len(content) != entry.file_size:
            raise Malformed("a record that is cut off")
        if self._check_sums and zlib.crc32(content) != entry.CRC:
            raise Damaged(entry.filename)
        return content

    def _seek(self, entry: zipfile.ZipInfo) -> None:
        """Go to the first byte of a record."""
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            raise Malformed("a compressed or encrypted record")
        self._file.seek(entry.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise Malformed("a record without a header")
        _, name, extra = _LOCAL_HEADER.unpack(header)
        self._file.seek(name + extra, 1)

    def _read_into(self, entry: zipfile.ZipInfo, memory: memoryview) -> None:
        self._seek(entry)
        checked = 0
        for start in range(0, len(memory), _CHUNK):
            part = memory[start : start + _CHUNK]
            self._fill(part)
            if self._check_sums:
                checked = zlib.crc32(part, checked)
        if self._check_sums and checked != entry.CRC:
            raise Damaged(entry.filename)

    def _fill(self, part: memoryview) -> None:
        read = getattr(self._file, "readinto", None)
        while part:
            if read is not None:
                count = read(part)
            else:
                data = self._file.read(len(part))
                count = len(data)
                part[:count] = data
            if not count:
                raise Malformed("a record that is cut off")
            part = part[count:]

    def _has_check_sums(self) -> bool:
        """Whether the writer computed them; torch can be told to write something else there."""
        entry = self._records.get(self._root + "version")
        if entry is None or entry.file_size > 100:
            return True
        self._check_sums = False
        return zlib.crc32(self._read(entry)) == entry.CRC

    def _is_from_other_order(self) -> bool:
        entry = self._records.get(self._root + "byteorder")
        if entry is None or entry.file_size > 100:
            return False
        order = self._read(entry)
        return order in (b"little", b"big") and order != sys.byteorder.encode("ascii")


_END = struct.Struct("<4s6xHII")  # the end of an archive: how many records, the list's length
_LONGEST_LIST = 20 << 20  # four hundred thousand records; each costs 700 bytes of memory


def _check_length_of_list(file: BinaryIO, size: int) -> None:
    """Refuse a list of records that is most of the file: reading it takes long, and memory."""
    file.seek(max(0, size - _END.size - 2 - 0xFFFF))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + _END.size:
        raise Malformed("an archive without an end")
    _, _, length, start = _END.unpack_from(tail, at)
    if 0xFFFFFFFF in (length, start):  # in archives of more than 4 GiB the numbers lie elsewhere
        length = 0 if size >= 1 << 32 else size
    if length > _LONGEST_LIST + size // 4:
        raise Malformed("a list of records that is longer than theirs can be")


def _check_places(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse records that lie upon each other, or are larger than the file."""
    free = 0
    for entry in sorted(entries, key=lambda entry: entry.header_offset):
        if entry.header_offset < free:
            raise Malformed("records that overlap, or are larger than the file")
        free = entry.header_offset + _LOCAL_HEADER.size + entry.compress_size
        if entry.file_size > entry.compress_size and entry.compress_type == zipfile.ZIP_STORED:
            raise Malformed("records that overlap, or are larger than the file")
    if free > size:
        raise Malformed("records that overlap, or are larger than the file")


class Damaged(ValueError):
    """A record whose bytes are not those that were written."""
