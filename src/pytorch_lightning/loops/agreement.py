"""What the ranks of a run decide together, in one small message every few seconds.

A rank that wants to stop (a callback, a signal, a clock) says so in the next message; all act on it
after the same batch. Each message agrees on the batch of the next one, since clocks differ.
"""

import itertools
import time

from pytorch_lightning.loops.failed_saves import has_failed
from pytorch_lightning.loops.limits import time_to_validate
from pytorch_lightning.loops.marks import answer_clocks
from pytorch_lightning.loops.run import Run

EVERY_SECONDS = 2.0
_numbers = itertools.count()


class Agreement:
    """The messages of one run of training.

    Args:
        run: Its state says after how many batches the next message is due.

    Attributes:
        number: Of the run, the same on all ranks.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.number = next(_numbers)
        self._at = time.monotonic()
        self._batches = run.state.batches_seen
        run.state.meet_at = self._batches + 1

    @classmethod
    def of(cls, run: Run) -> "Agreement | None":
        """The messages of a run; None for one process, which agrees with itself."""
        run.state.several = run.strategy.world_size > 1
        if not run.state.several:
            return None
        run.publish.join(run.strategy, run.session)
        return cls(run)

    def is_due(self) -> bool:
        """Whether to meet after the batch that just ran."""
        state = self.run.state
        return state.batches_seen >= state.meet_at or self._step_is_read()

    def _step_is_read(self) -> bool:
        """Whether a file or a scheduler is about to see values that all ranks reduce together."""
        state = self.run.state
        return bool(state.requests) or self.run.watches_steps and state.window_closed

    def after_batch(self) -> None:
        """Meet at the end of a batch; values of the step travel along where somebody reads them."""
        steps = self.run.publish.step_is_due() or self._step_is_read()
        self._meet(f"after batch {self.run.state.batch - 1}", steps=steps)

    def meet(self, where: str) -> None:
        """Meet where all ranks come by in any case.

        Args:
            where: For errors, such as 'after a validation'.
        """
        self._meet(where, steps=True)

    def _meet(self, where: str, *, steps: bool) -> None:
        run, state = self.run, self.run.state
        wishes = (
            state.asked_to_stop or state.stop,
            state.asked_to_end or state.ending,
            time_to_validate(run.limits, state),
            state.asked_by_clock,
            self._next(),
            has_failed(run),
        )
        answer = run.publish.flush(
            run.publish.train,
            steps=steps,
            epoch=False,
            numbers=[float(wish) for wish in wishes],
            where=f"{where} of epoch {state.epoch}",
            idle=run.session.batch is None,
        )
        assert answer is not None
        stop, end, validate, clocks, batches, failed = answer.numbers.T.tolist()
        if any(failed):
            run.strategy.finish_saves()
        state.stop, state.ending = any(stop), int(max(end))
        state.asked_to_stop = False
        state.validate_now = bool(validate[0])  # by the clock of rank 0
        answer_clocks(state, int(clocks[0]))
        state.meet_at = min(batches)
        self._at, self._batches = time.monotonic(), state.batches_seen

    def _next(self) -> float:
        """After how many batches of the run this rank would like to meet again."""
        run, state = self.run, self.run.state
        seconds = time.monotonic() - self._at
        done = state.batches_seen - self._batches
        pace = int(done * EVERY_SECONDS / seconds) if seconds > 0 and done else 1
        steps = run.publish.steps_until_due() if run.publish.has_synced_steps() else None
        most = max(run.limits.log_every_n_steps, 1) if steps is None else steps
        batches = most * run.limits.accumulate
        if steps is None:
            batches = min(batches, max(pace, 1))
        left = run.limits.num_batches - state.batch  # the last one closes a window early
        return state.batches_seen + (min(batches, left) if left > 0 else batches)
