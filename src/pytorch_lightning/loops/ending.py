"""The end that a signal asked for: all ranks leave where the run can be taken up again."""

import math
import signal
import time
from typing import NoReturn

from pytorch_lightning.data.feed import Feed
from pytorch_lightning.data.position import Source
from pytorch_lightning.loops.agreement import EVERY_SECONDS
from pytorch_lightning.loops.marks import serve_requests
from pytorch_lightning.loops.pulling import pulls
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import SIGTERMException


def end_run(run: Run) -> NoReturn:
    """Do what waits for such a point, and leave the loops.

    Raises:
        KeyboardInterrupt: After Ctrl-C.
        SIGTERMException: After all other signals.
    """
    serve_requests(run)
    run.before_end()
    if run.state.ending == signal.SIGINT:
        raise KeyboardInterrupt
    raise SIGTERMException


class Meetings:
    """Messages of the ranks during an evaluation, which has none of its own before its end.

    One every few seconds, for signals, in rounds for which all ranks have a batch. As many batches
    as the ranks agreed on lie between two of them.

    Args:
        common: The number of these rounds.
        begun: Batches that a resumed pass had before.

    Attributes:
        at: After how many batches the next one is due.
    """

    def __init__(self, run: Run, common: float, begun: int) -> None:
        self.run = run
        self._common = common
        self._after(begun)

    @classmethod
    def of(cls, run: Run, step: str, source: Source | Feed, begun: int) -> "Meetings | None":
        """None for one process, and where ranks may have any number of batches."""
        if not run.state.several or not isinstance(source, Source) or source.dealt is None:
            return None
        if pulls(run.module, step):
            return None
        return cls(run, min(source.ends()[0], source.limit), begun)

    def meet(self, batches: int) -> None:
        """Ask each other; called by all ranks after the same batch."""
        state = self.run.state
        seconds = max(time.monotonic() - self._since, 1e-6)
        pace = max(int((batches - self._batches) * EVERY_SECONDS / seconds), 1)
        asked = state.asked_to_end or state.ending
        told = self.run.strategy.gather_objects((asked, pace))
        state.ending = max(asked for asked, _ in told)
        self.run.pace = min(pace for _, pace in told)
        self._after(batches)

    def _after(self, batches: int) -> None:
        self._batches, self._since = batches, time.monotonic()
        following = batches + self.run.pace
        self.at: float = following if following <= self._common else math.inf
