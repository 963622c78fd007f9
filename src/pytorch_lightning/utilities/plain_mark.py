"""Mark methods that do nothing of their own, so that a run can bind the shorter chain."""

from collections.abc import Callable
from typing import Any, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def plain(function: _Function) -> _Function:
    """Mark a method whose work a caller may do directly instead.

    An override carries no mark, so it is always called.
    """
    function.plain = True  # type: ignore[attr-defined]  # a function takes attributes
    return function


def is_plain(owner: object, *names: str) -> bool:
    """Whether none of these methods was overridden, in a subclass or on the object itself."""
    return all(getattr(getattr(owner, name), "plain", False) for name in names)
