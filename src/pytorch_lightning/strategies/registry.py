"""Strategies by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pytorch_lightning.strategies.strategy import Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.suggest import did_you_mean

_Class = TypeVar("_Class", bound=Callable[..., Strategy])


@dataclass(frozen=True)
class Entry:
    """One registered strategy: the class and the arguments it is made with."""

    strategy: Callable[..., Strategy]
    description: str
    init_params: dict[str, Any]


class Registry(dict[str, Entry]):
    """Finds strategies by name."""

    def register(
        self,
        name: str,
        strategy: Callable[..., Strategy] | None = None,
        description: str | None = None,
        override: bool = False,
        **init_params: Any,
    ) -> Callable[..., Any]:
        """Register a class, directly or as a decorator.

        Args:
            override: Replace an entry of the same name instead of refusing.
            init_params: Given to the class when it is made.
        """
        if not isinstance(name, str):
            raise TypeError(f"`name={name!r}`: a strategy is registered under a string.")
        if name in self and not override:
            raise MisconfigurationException(
                f"'{name}' is already a registered strategy. Pass another name or override=True."
            )

        def add(made_by: _Class) -> _Class:
            self[name] = Entry(made_by, description or "", init_params)
            return made_by

        return add if strategy is None else add(strategy)

    def get(self, name: str, default: Any | None = None) -> Any:
        """Make the strategy of that name."""
        if name in self:
            entry = self[name]
            return entry.strategy(**entry.init_params)
        if default is not None:
            return default
        raise KeyError(
            f"'{name}' is no registered strategy; known: {', '.join(sorted(self))}."
            + did_you_mean(name, self)
        )

    def remove(self, name: str) -> None:
        """Forget a name."""
        self.pop(name)

    def available_strategies(self) -> list[str]:
        """The registered names, in order."""
        return sorted(self)


StrategyRegistry = Registry()
