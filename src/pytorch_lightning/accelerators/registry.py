"""Accelerators by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.suggest import did_you_mean

_Class = TypeVar("_Class", bound=Callable[..., Accelerator])


@dataclass(frozen=True)
class Entry:
    """One registered accelerator: the class and the arguments it is made with."""

    accelerator: Callable[..., Accelerator]
    description: str
    init_params: dict[str, Any]


class Registry(dict[str, Entry]):
    """Finds accelerators by name."""

    def register(
        self,
        name: str,
        accelerator: Callable[..., Accelerator] | None = None,
        description: str = "",
        override: bool = False,
        **init_params: Any,
    ) -> Callable[..., Any]:
        """Register a class, directly or as a decorator.

        Args:
            override: Replace an entry of the same name instead of refusing.
            init_params: Given to the class when it is made.
        """
        if not isinstance(name, str):
            raise TypeError(f"`name={name!r}`: an accelerator is registered under a string.")
        if name in self and not override:
            raise MisconfigurationException(
                f"'{name}' is already a registered accelerator. Pass another name or override=True."
            )

        def add(made_by: _Class) -> _Class:
            self[name] = Entry(made_by, description, init_params)
            return made_by

        return add if accelerator is None else add(accelerator)

    def get(self, name: str, default: Any | None = None) -> Any:
        """Make the accelerator of that name."""
        if name in self:
            entry = self[name]
            return entry.accelerator(**entry.init_params)
        if default is not None:
            return default
        raise KeyError(
            f"'{name}' is no registered accelerator; known: {', '.join(sorted(self))}."
            + did_you_mean(name, self)
        )

    def remove(self, name: str) -> None:
        """Forget a name."""
        self.pop(name)

    def available_accelerators(self) -> set[str]:
        """The registered names."""
        return set(self)


AcceleratorRegistry = Registry()
