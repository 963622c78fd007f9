"""Hooks that are almost called like one."""

from typing import Any

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.suggest import nearest
from pytorch_lightning.utilities.warnings import PossibleUserWarning

_VERY_LIKE = 0.88


def check_hook_names(owner: object) -> None:
    """Refuse an `on_*` method that nothing calls and that is very like a hook.

    Raises:
        MisconfigurationException: With the name that was probably meant.
    """
    for cls in type(owner).__mro__:
        if cls.__module__.startswith(("pytorch_lightning.", "torch.", "builtins")):
            continue
        for name, value in vars(cls).items():
            if name.startswith("on_") and callable(value) and name not in HOOKS:
                _check(owner, cls, name)


def _check(owner: object, cls: type, name: str) -> None:
    if any(name in vars(base) for base in cls.__mro__[1:]):
        return  # a method of a library's class, which calls it itself
    known = [h for h in HOOKS if h.startswith("on_") and _has(owner, h)]
    meant = nearest(name, known, cutoff=_VERY_LIKE)
    if meant is None:
        return
    message = f"`{cls.__qualname__}.{name}` is no hook; did you mean `{meant}`?"
    if _calls(cls, name):
        warnings_given.warn(f"{message} (It is called by its class.)", category=PossibleUserWarning)
        return
    raise MisconfigurationException(
        f"{message} Nothing calls it. Rename it; a method of your own needs another name."
    )


def _has(owner: object, hook: str) -> bool:
    entry = HOOKS[hook]
    if isinstance(owner, Callback):
        return entry.callback
    return entry.module or entry.datamodule


def _calls(cls: type, name: str) -> bool:
    """Whether any method of a class mentions a name."""
    return any(name in _names(value) for base in cls.__mro__ for value in vars(base).values())


def _names(value: Any) -> set[str]:
    function = getattr(value, "__func__", value)
    code = getattr(function, "__code__", None)
    return set(code.co_names) if code is not None else set()
