"""Which values may be keys: hashing and comparing them must not take long."""

from collections.abc import Iterable
from typing import Any

_PRIME = (1 << 61) - 1  # integers below it are their own hash, so that no two of them collide
_LONGEST_TEXT = 1_000
_MOST_BITS = 4_096
_MOST_PARTS = 1_000
_MOST_ALIKE = 100

Hashes = dict[int, int]


class Malformed(ValueError):
    """The bytes do not follow the rules of the format."""


def check_keys(keys: Iterable[Any], hashes: Hashes | None = None) -> int:
    """Refuse what is no key, takes long to hash, or was chosen to collide with many others.

    Args:
        hashes: How often each hash was seen among the keys that the container has already.

    Returns:
        How much there is to hash, in numbers and short texts.
    """
    effort = 0
    hashes = {} if hashes is None else hashes
    for key in keys:
        effort += 1
        kind = type(key)
        if kind is int and -_PRIME < key < _PRIME:
            continue
        if kind is str or kind is bytes:  # hashed once, and differently in each process
            effort += len(key) // _LONGEST_TEXT
            continue
        effort += _parts(key)
        try:
            hashed = hash(key)
        except TypeError:
            raise Malformed(f"a {kind.__name__} as a key") from None
        hashes[hashed] = alike = hashes.get(hashed, 0) + 1
        if alike > _MOST_ALIKE:
            raise Malformed("keys that were chosen to collide")
    return effort


def _parts(key: Any) -> int:
    """How many values a key has; tuples can share them, and unfold without end."""
    waiting, parts = [key], 0
    while waiting:
        item = waiting.pop()
        parts += 1
        if parts > _MOST_PARTS:
            raise Malformed("a key that is too large")
        if isinstance(item, tuple | frozenset):
            waiting.extend(item)
        elif isinstance(item, int):
            check_size(item)
        elif isinstance(item, str | bytes):
            parts += len(item) // _LONGEST_TEXT
    return parts


def check_size(number: int) -> int:
    """The number, where it is small enough to calculate with it."""
    if number.bit_length() > _MOST_BITS:
        raise Malformed(f"a number of {number.bit_length()} bits")
    return number
