"""Steps for which this rank has no loss, while others may have one and wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pytorch_lightning.distributed.unison import all_are_absent, in_unison, say_absent
from pytorch_lightning.loops.limits import window_closes
from pytorch_lightning.loops.ragged import unchanged
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.window import as_weighted, unpack
from pytorch_lightning.utilities.plain_mark import is_plain

if TYPE_CHECKING:
    from pytorch_lightning.loops.optimize import Step

_CURE = "Return `(loss_sum * 0, 0)` there, the loss of a batch with weight zero."


class Absence:
    """Takes part in the step of one optimizer with a gradient of zero.

    A batch without a loss counts as one whose loss is zero: the mean is over all ranks. A window in
    which no rank has any loss moves nothing, as in one process.

    Attributes:
        nobody: No rank has a loss in the window that ends.
    """

    def __init__(self, run: Run, step: Step) -> None:
        self.run, self.step = run, step
        self.nobody = False
        self.stands_in = not is_plain(run.strategy, "exchange_nothing")
        self._calls = (0, 0)  # the last batch, and how often its closure was called

    def skip(self) -> Tensor | None:
        """Stand in for the loss of a `training_step` that returned None."""
        run, step = self.run, self.step
        if not self.stands_in:
            in_unison(f"`training_step` returned None for batch {run.state.batch}", cure=_CURE)
            return None
        run.state.held[step.index] = step.held_before + 1
        zero = self._zero()
        if step.closes and not step.apart:
            self._exchange()
        return zero

    def _zero(self) -> Tensor:
        run = self.run
        zero = torch.zeros((), device=run.strategy.root_device)
        run.strategy.precision_plugin.pre_backward(zero, run.module)  # where a scaler adapts
        return zero

    def _exchange(self) -> None:
        """Let the others have a mean of gradients, and learn whether they had any loss."""
        run, state, raw = self.run, self.run.state, self.step.raw
        assert run.agreement is not None
        batch, calls = state.batches_seen, self._calls
        self._calls = batch, (calls[1] + 1 if calls[0] == batch else 1)
        place = (run.agreement.number, self.step.index, *self._calls)
        has_any = any(p.grad is not None for group in raw.param_groups for p in group["params"])
        if not has_any:
            say_absent(place)
        run.strategy.exchange_nothing()
        self.nobody = not has_any and all_are_absent(place)

    # --- a stream that has ended on this rank -------------------------------------------------

    def idle(self) -> None:
        """Take part in the step of a batch that only other ranks have."""
        step, state = self.step, self.run.state
        closes = window_closes(step.limits, state, is_last=False)
        state.window_closed, step.window.short, step.batch = closes, True, None
        step.called, step.opens = False, state.held[step.index] == 0
        if step.opens:
            step.raw.zero_grad()
        state.held[step.index] += 1
        if self.run.strategy.forward_communicates:
            self._repeat(self.run.peers.last_batch())  # type: ignore[union-attr]  # or no rank is idle
        with self.run.strategy.run_alone():  # as the ranks that have the batch
            if closes:
                step.step(self._nothing)

    def _nothing(self) -> Tensor:
        """The closure of such a step; some optimizers call it several times."""
        step = self.step
        if step.called:
            step.refuse_second_call()
            step.raw.zero_grad()
        step.called = step.apart = step.window.short = True
        zero = self._zero()
        step.before_step()
        return zero

    def _repeat(self, batch: Any) -> None:
        """Go through a step with the others; nothing of this rank counts or remains."""
        run, session, step = self.run, self.run.session, self.step
        with unchanged(run):
            session.new_batch(batch := run.transfer(batch, 0))
            session.hook = "training_step"
            output = step.training_step(batch, run.state.batch)
            weighted = as_weighted(output)
            if weighted is not None:
                loss: Tensor | None = weighted[0]
            else:
                loss = output if isinstance(output, Tensor) else unpack(output)[0]
            if loss is not None:
                run.strategy.backward(loss * 0.0, step.raw)
        session.hook = ""
        session.no_batch()
