"""Things that are made by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.suggest import did_you_mean

_Class = TypeVar("_Class", bound=Callable[..., Any])


class Entry(NamedTuple):
    """What is registered under a name: the class and the arguments it is made with."""

    provider: Callable[..., Any]
    description: str
    init_params: dict[str, Any]


class Registry(dict[str, Entry]):
    """Finds what was registered by name, and makes it.

    Args:
        kind: What it holds, e.g. 'strategy'; `register` takes the class under this name too.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def register(
        self,
        name: str,
        provider: Callable[..., Any] | None = None,
        description: str | None = None,
        override: bool = False,
        **init_params: Any,
    ) -> Callable[..., Any]:
        """Register a class, directly or as a decorator.

        Args:
            override: Replace an entry of the same name instead of refusing.
            init_params: Given to the class when it is made.
        """
        if provider is None:
            provider = init_params.pop(self.kind, None)
        if not isinstance(name, str):
            raise TypeError(f"`name={name!r}`: register the {self.kind} under a string.")
        if name in self and not override:
            raise MisconfigurationException(
                f"'{name}' is already a registered {self.kind}. Pass another name or override=True."
            )

        def add(made_by: _Class) -> _Class:
            self[name] = Entry(made_by, description or "", init_params)
            return made_by

        return add if provider is None else add(provider)

    def get(self, name: str, default: Any | None = None) -> Any:
        """Make what is registered under a name."""
        if name in self:
            entry = self[name]
            return entry.provider(**entry.init_params)
        if default is not None:
            return default
        raise KeyError(
            f"'{name}' is no registered {self.kind}; known: {', '.join(sorted(self))}."
            + did_you_mean(name, self)
        )

    def remove(self, name: str) -> None:
        """Forget a name."""
        self.pop(name)
