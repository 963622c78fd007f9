"""A bar that cannot draw leaves the run alone."""

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from pytorch_lightning.utilities.rank_zero import rank_zero_warn


class Drawer(Protocol):
    """What draws, and can be told to stop."""

    _broken: bool

    def disable(self) -> None:
        """Draw nothing from now on."""


_Bar = TypeVar("_Bar", bound=Drawer)
_Arguments = ParamSpec("_Arguments")


def never_fatal(
    draw: Callable[Concatenate[_Bar, _Arguments], None],
) -> Callable[Concatenate[_Bar, _Arguments], None]:
    """Make a method that warns and disables its bar where it would have raised."""

    @wraps(draw)
    def guarded(bar: _Bar, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if bar._broken:
            return
        try:
            draw(bar, *args, **kwargs)
        except Exception as error:
            bar._broken = True
            bar.disable()
            rank_zero_warn(
                f"`{type(bar).__name__}` failed in `{draw.__name__}` and is off from now on,"
                f" the run goes on: {type(error).__name__}: {error}"
            )

    return guarded
