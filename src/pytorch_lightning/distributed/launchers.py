"""What starts the other processes of a run, and brings the results home."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any


class Launcher(ABC):
    """Starts the processes of this machine."""

    @property
    @abstractmethod
    def is_interactive_compatible(self) -> bool:
        """Whether it works in notebooks."""

    @abstractmethod
    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in all processes.

        Returns:
            What it returned in the process of rank 0.
        """

    def kill(self, signum: int) -> None:
        """Send a signal to the processes that were started."""
