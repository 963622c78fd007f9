"""What a function that a user wrote accepts."""

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_UNREADABLE: dict[str, inspect.Parameter] = {
    "args": inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
    "kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
}


class Capacity(NamedTuple):
    """How many positional arguments a function takes; `self` is not counted."""

    required: int
    maximum: float  # math.inf with `*args`
    names: tuple[str, ...]


def parameters(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of anything callable; bound and preset ones are left out.

    Decorators that keep `__wrapped__` are looked through. What cannot be read, such as a
    function written in C, counts as `(*args, **kwargs)`.
    """
    try:
        return dict(inspect.signature(fn).parameters)
    except (ValueError, TypeError):
        return dict(_UNREADABLE)


def accepts_parameter(fn: Callable[..., Any], name: str, *, by_kwargs: bool = False) -> bool:
    """Whether `fn(..., name=value)` names a parameter of `fn`.

    Args:
        by_kwargs: Also say yes when `**kwargs` would take it.
    """
    found = parameters(fn)
    if name in found and found[name].kind in _NAMED:
        return True
    return by_kwargs and any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values())


def positional_capacity(fn: Callable[..., Any]) -> Capacity:
    """Count the positional arguments that must and that may be given.

    >>> positional_capacity(lambda batch, index=0: None)
    Capacity(required=1, maximum=2, names=('batch', 'index'))
    """
    found = parameters(fn).values()
    positional = [p for p in found if p.kind in _POSITIONAL]
    required = sum(p.default is inspect.Parameter.empty for p in positional)
    endless = any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in found)
    maximum = math.inf if endless else len(positional)
    return Capacity(required, maximum, tuple(p.name for p in positional))


def is_param_in_hook_signature(
    hook_fx: Callable[..., Any],
    param: str,
    explicit: bool = False,
    min_args: int | None = None,
) -> bool:
    """Whether a hook takes `param`.

    Args:
        explicit: Only a parameter of that name counts, not `*args`.
        min_args: So many parameters count as well.
    """
    found = parameters(hook_fx)
    if param in found:
        return True
    if not explicit and any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in found.values()):
        return True
    return isinstance(min_args, int) and len(found) >= min_args
