"""Points where a run can be taken up again: what hooks asked for is done there."""

from collections.abc import Callable

from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import State


def request(state: State, serve: Callable[[], None]) -> None:
    """Have `serve` called at the next mark; asked for twice before, it is called once."""
    if serve not in state.requests:
        state.requests.append(serve)


def serve_requests(run: Run) -> None:
    """Do what was asked for, in the order of asking.

    Every listener of the moment has run, so a file that is written here lacks nothing of what a
    later one did.
    """
    waiting = run.state.requests
    while waiting:
        waiting.pop(0)()
