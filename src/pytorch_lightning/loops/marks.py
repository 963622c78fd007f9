"""Points where a run can be taken up again: what hooks asked for is done there."""

from collections.abc import Callable

from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import State


def request(state: State, serve: Callable[[], None]) -> None:
    """Have `serve` called at the next mark; asked for twice before, it is called once."""
    if serve not in state.requests:
        state.requests.append(serve)


def request_by_clock(state: State, serve: Callable[[], None]) -> None:
    """The same, where the time of this rank has come and that of others may not have."""
    if not state.several:
        request(state, serve)
    elif serve in state.by_clock:
        state.asked_by_clock |= 1 << state.by_clock.index(serve)


def answer_clocks(state: State, asked: int) -> None:
    """Make requests of what rank 0 asked for.

    Args:
        asked: Its bits.
    """
    for index, serve in enumerate(state.by_clock):
        if asked >> index & 1:
            request(state, serve)
    state.asked_by_clock = 0


def serve_requests(run: Run) -> None:
    """Do what was asked for, in the order of asking.

    Every listener of the moment has run, so a file that is written here lacks nothing of what a
    later one did.
    """
    waiting = run.state.requests
    while waiting:
        waiting.pop(0)()
