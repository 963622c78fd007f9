"""What writing and reading a checkpoint in parts have in common."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

META = "meta.pt"
KEY = "__sharded__"  # a dictionary with this key stands for a tensor that lies in the parts
ABOUT = "sharded_checkpoint"
FORMAT = 1
_CHUNK = 1 << 22


class Party(NamedTuple):
    """Who writes or reads together.

    Attributes:
        gather: An object of each process to the list of all of them, in each process.
        group: The processes, for torch; None for all.
    """

    rank: int = 0
    world: int = 1
    gather: Callable[[Any], list[Any]] = lambda value: [value]  # noqa: E731
    group: Any = None

    @property
    def alone(self) -> bool:
        """Whether there is nobody else to ask."""
        return self.world == 1


class EachRank(NamedTuple):
    """Stands in a state for what each process has of its own; saving makes it the list of all."""

    value: Any


def hash_of(path: str) -> str:
    """The sha256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
