"""A hash in a checkpoint's own archive, so that a torn or flipped byte is noticed."""

import hashlib
import struct
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, cast

import torch

# A zip archive without a comment ends in a record of 22 bytes, the last two of which are the
# comment's length. The comment is this label and the hash of all bytes before the hash.
_END = b"PK\x05\x06"
_END_SIZE = 22
_LABEL = b"sha256="
_HEX_SIZE = 64
_LONGEST_COMMENT = 0xFFFF
SEAL_SIZE = len(_LABEL) + _HEX_SIZE
_CHUNK = 1 << 22


class SealingWriter:
    """A file that hashes what is written through it; `seal` ends it."""

    def __init__(self, target: BinaryIO) -> None:
        self.error: Exception | None = None
        self._write_through: Callable[[Any], Any] = target.write
        self._digest = hashlib.sha256()
        self._end = b""
        self._flush = target.flush

    def write(self, data: Any) -> int:
        """Write a bytes-like object; its last bytes wait for the seal."""
        size = len(data)
        if size < _END_SIZE:
            joined = self._end + bytes(data)
            self._pass_on(joined[:-_END_SIZE])
            self._end = joined[-_END_SIZE:]
            return size
        self._pass_on(self._end)
        self._pass_on(memoryview(data)[:-_END_SIZE])
        self._end = bytes(data[-_END_SIZE:])
        return size

    def flush(self) -> None:
        """Flush what was passed on so far."""
        self._flush()

    def seal(self) -> None:
        """Write the end of the archive with its hash; other formats end as they are."""
        if not (self._end.startswith(_END) and self._end.endswith(b"\0\0")):
            self._pass_on(self._end)
            return
        self._pass_on(self._end[:-2] + struct.pack("<H", SEAL_SIZE) + _LABEL)
        self._pass_on(self._digest.hexdigest().encode("ascii"))

    def _pass_on(self, data: Any) -> None:
        try:
            written = self._write_through(data)
        except Exception as error:
            # torch's archive writer hides the first error behind one about positions
            self.error = self.error or error
            raise
        if written is not None and written != len(data):
            self.error = self.error or OSError(f"wrote {written} of {len(data)} bytes")
            raise self.error
        self._digest.update(data)


def seal_of(file: BinaryIO, size: int) -> bytes | None:
    """The hash that a file claims to have; None when it carries none."""
    if size < _END_SIZE + SEAL_SIZE:
        return None
    file.seek(size - SEAL_SIZE)
    tail = file.read(SEAL_SIZE)
    return tail[len(_LABEL) :] if tail.startswith(_LABEL) else None


def ends_as_written(file: BinaryIO, size: int) -> bool:
    """Whether the end of an archive without a readable seal is whole."""
    file.seek(max(0, size - _END_SIZE - _LONGEST_COMMENT))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + _END_SIZE:
        return False
    (length,) = struct.unpack_from("<H", tail, at + _END_SIZE - 2)
    # A comment of just this length was a seal, and `seal_of` did not find it.
    return bool(at + _END_SIZE + length == len(tail) and length != SEAL_SIZE)


def hash_before_seal(file: BinaryIO, size: int) -> bytes:
    """The hash of all that lies before the seal's hash."""
    digest = hashlib.sha256()
    file.seek(0)
    left = size - _HEX_SIZE
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            break
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest().encode("ascii")


def write_sealed(checkpoint: Mapping[str, Any], file: BinaryIO) -> None:
    """Write through `torch.save`, found when it is called since programs wrap it."""
    writer = SealingWriter(file)
    try:
        torch.save(checkpoint, cast(BinaryIO, writer))  # it needs `write` and `flush` alone
    except Exception as error:
        if writer.error is not None and writer.error is not error:
            raise writer.error from error
        raise
    writer.seal()
