"""A tqdm bar with steady numbers, and the attributes that hold such bars."""

import math
from typing import overload

from tqdm.auto import tqdm

_WIDTH = 5


class Tqdm(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """A tqdm bar whose numbers keep their width."""

    monitor_interval = 0  # we draw when it is time; tqdm needs no thread that watches us

    @staticmethod
    def format_num(n: int | float | str) -> str:
        """Write a float with zeros up to five characters, so that the bar does not jitter."""
        if isinstance(n, str):
            return n
        text = str(tqdm.format_num(n))
        if not isinstance(n, float) or "e" in text or not math.isfinite(n):
            return text
        return (text if "." in text else f"{text}.").ljust(_WIDTH, "0")


class Slot:
    """A bar under a public name; it says so when it is read before it was made."""

    def __init__(self, place: str) -> None:
        self._place = place

    @overload
    def __get__(self, bar: None, owner: type) -> "Slot": ...

    @overload
    def __get__(self, bar: object, owner: type) -> Tqdm: ...

    def __get__(self, bar: object, owner: type) -> "Tqdm | Slot":
        if bar is None:
            return self
        drawn: Tqdm | None = bar.__dict__.get(self._place)
        if drawn is None:
            raise TypeError(f"`{owner.__name__}.{self._place[1:]}` is there once its stage begins.")
        return drawn

    def __set__(self, bar: object, drawn: Tqdm) -> None:
        bar.__dict__[self._place] = drawn
