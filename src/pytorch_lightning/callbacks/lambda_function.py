"""A callback made of functions."""

import inspect
from collections.abc import Callable
from typing import Any

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.utilities.suggest import did_you_mean

_STATE = ("state_dict", "load_state_dict")
_NAMES = tuple(name for name in vars(Callback) if name in HOOKS and name not in _STATE)


class LambdaCallback(Callback):
    """Calls a function for each hook that is named.

    Args:
        hooks: Any hook of `Callback` but the two about state, and a function that takes what
            the hook takes.

    Example:
        >>> greeter = LambdaCallback(on_train_start=lambda trainer, pl_module: print("hello"))
    """

    __signature__ = inspect.Signature(
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Callable[..., Any] | None,
            )
            for name in _NAMES
        ]
    )

    def __init__(self, **hooks: Callable[..., Any] | None) -> None:
        for name, function in hooks.items():
            if name not in _NAMES:
                raise TypeError(
                    f"`LambdaCallback({name}=...)`: no such hook.{did_you_mean(name, _NAMES)}"
                )
            if function is None:
                continue
            if not callable(function):
                raise TypeError(
                    f"`LambdaCallback({name}={function!r})`: pass a function that takes what "
                    f"`Callback.{name}` takes."
                )
            setattr(self, name, function)
