"""The operations of a pickle as bytes: what each reads, and what it is called."""

import codecs
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from pytorch_lightning.checkpoint.keys import Malformed

Argument = Callable[[BinaryIO], Any]

_SIGNED = struct.Struct("<i")
_UNSIGNED = struct.Struct("<I")
_SHORT = struct.Struct("<H")
_LONG = struct.Struct("<Q")
_DOUBLE = struct.Struct(">d")
_MOST_DIGITS = 4_000


def _exactly(source: BinaryIO, size: int) -> bytes:
    # a size out of the file is none to reserve memory by
    data = source.read(size) if size < _PIECE else _in_pieces(source, size)
    if len(data) != size:
        raise Malformed("no end")
    return data


_PIECE = 1 << 20


def _in_pieces(source: BinaryIO, size: int) -> bytes:
    found = bytearray()
    while len(found) < size and (piece := source.read(min(size - len(found), 16 * _PIECE))):
        found += piece
    return bytes(found)


def _line(source: BinaryIO) -> bytes:
    data = source.readline()
    if not data.endswith(b"\n"):
        raise Malformed("no end")
    return data[:-1]


def _fixed(layout: struct.Struct) -> Argument:
    size, unpack = layout.size, layout.unpack

    def read(source: BinaryIO) -> Any:
        data = source.read(size)
        if len(data) != size:
            raise Malformed("no end")
        return unpack(data)[0]

    return read


def _byte(source: BinaryIO) -> int:
    data = source.read(1)
    if not data:
        raise Malformed("no end")
    return data[0]


def _sized(size_of: Argument, decode: Callable[[bytes], Any] | None) -> Argument:
    def read(source: BinaryIO) -> Any:
        size = size_of(source)
        if size < 0:
            raise Malformed("a size below zero")
        data = _exactly(source, size)
        return data if decode is None else decode(data)

    return read


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _latin(data: bytes) -> str:
    return data.decode("latin-1")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _number(digits: bytes) -> int:
    if len(digits) > _MOST_DIGITS:
        raise Malformed(f"a number of {len(digits)} digits")
    return int(digits)


def _written_int(source: BinaryIO) -> int | bool:
    data = _line(source)
    return data == b"01" if data in (b"00", b"01") else _number(data)


def _written_long(source: BinaryIO) -> int:
    return _number(_line(source).removesuffix(b"L"))


def _written_float(source: BinaryIO) -> float:
    data = _line(source)
    if len(data) > _MOST_DIGITS:
        raise Malformed(f"a number of {len(data)} digits")
    return float(data)


def _quoted(source: BinaryIO) -> str:
    data = _line(source)
    if len(data) < 2 or data[:1] not in (b"'", b'"') or data[-1:] != data[:1]:
        raise Malformed("a text without quotes")
    return str(codecs.escape_decode(data[1:-1])[0].decode("ascii"))


def _escaped(source: BinaryIO) -> str:
    return str(_line(source), "raw-unicode-escape")


def _ascii_line(source: BinaryIO) -> str:
    return _line(source).decode("ascii")


def _index(source: BinaryIO) -> int:
    return _number(_line(source))


def _module_and_name(source: BinaryIO) -> tuple[str, str]:
    return _line(source).decode("utf-8"), _line(source).decode("utf-8")


_four, _eight = _fixed(_UNSIGNED), _fixed(_LONG)

# Operations that put what they read on the stack.
PUSHES: dict[bytes, Argument] = {
    b"I": _written_int, b"J": _fixed(_SIGNED), b"K": _byte, b"M": _fixed(_SHORT),
    b"L": _written_long, b"\x8a": _sized(_byte, _little), b"\x8b": _sized(_fixed(_SIGNED), _little),
    b"F": _written_float, b"G": _fixed(_DOUBLE),
    b"S": _quoted, b"T": _sized(_fixed(_SIGNED), _latin), b"U": _sized(_byte, _latin),
    b"V": _escaped, b"X": _sized(_four, _text), b"\x8c": _sized(_byte, _text),
    b"\x8d": _sized(_eight, _text),
    b"B": _sized(_four, None), b"C": _sized(_byte, None), b"\x8e": _sized(_eight, None),
    b"\x96": _sized(_eight, bytearray),
}  # fmt: skip
PUTS: dict[bytes, Argument] = {b"p": _index, b"q": _byte, b"r": _four}
GETS: dict[bytes, Argument] = {b"g": _index, b"h": _byte, b"j": _four}
# Operations whose argument counts, or has to be read past.
ARGUMENTS: dict[bytes, Argument] = {
    b"\x80": _byte, b"\x95": _eight, b"c": _module_and_name, b"i": _module_and_name,
    b"P": _ascii_line,
}  # fmt: skip
