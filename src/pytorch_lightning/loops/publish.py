"""Results handed to loggers, callbacks and the progress bar when they are due."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_lightning.distributed.exchange import Answer, Exchange
from pytorch_lightning.loops import results as r
from pytorch_lightning.loops.limits import Limits
from pytorch_lightning.loops.over_ranks import STEP, Message, Part
from pytorch_lightning.loops.recording import RunSession
from pytorch_lightning.loops.results import Results, Slot
from pytorch_lightning.loops.state import State


class Board:
    """What was published last, by name; kept after a run until the next one starts."""

    def __init__(self) -> None:
        self.callback: dict[str, Tensor] = {}
        self.logged: dict[str, Tensor] = {}
        self.bar: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Plain data."""
        return {name: {k: v.detach() for k, v in d.items()} for name, d in vars(self).items()}

    def load_state_dict(self, saved: dict[str, dict[str, Tensor]]) -> None:
        """Take back what `state_dict` gave."""
        for name, values in saved.items():
            getattr(self, name).update(values)


class Publisher:
    """Reads the results of the stages of a run; the host waits only when somebody is due to read.

    Attributes:
        train: Results of training; those of evaluation are handed over by their loops.
        forced: Publish every step, whatever `log_every_n_steps` says.
    """

    def __init__(self, state: State, limits: Limits, loggers: Callable[[], Sequence[Any]]) -> None:
        self.state = state
        self.limits = limits
        self.loggers = loggers
        self.board = Board()
        self.train = Results(training=True)
        self.open: list[Results] = [self.train]
        self.forced = False
        self.exchange: Exchange | None = None  # with the other ranks, where there are any
        self.module: nn.Module | None = None
        # Of the evaluation that ended last, for its table: values by loader and name.
        self.results: dict[tuple[int | None, str], Tensor] = {}
        self._agreed: list[Slot] = []  # values of steps that loggers have not seen

    # --- reading, at any time ---------------------------------------------------------------------

    def callback_metrics(self) -> dict[str, Tensor]:
        """Everything that was logged, with the value so far."""
        self.fold()
        return self.board.callback

    def logged_metrics(self) -> dict[str, Tensor]:
        """What was, or would be, sent to loggers."""
        return self._flagged(r.LOGGER, self.board.logged)

    def bar_metrics(self) -> dict[str, float]:
        """What the progress bar shows, as numbers."""
        return to_numbers(self._flagged(r.PROG_BAR, self.board.bar))

    def _flagged(self, flag: int, shown: dict[str, Tensor]) -> dict[str, Tensor]:
        """Step values as they are; epoch values once the epoch is over, as metric objects cost."""
        for results in self.open:
            for slot in results.slots.values():
                if not slot.flags[flag]:
                    continue
                if slot.on_step and (value := slot.step_value()) is not None:
                    shown[slot.step_name] = value
                if results.complete and slot.on_epoch and (v := slot.epoch_value()) is not None:
                    shown[slot.epoch_name] = v
        return shown

    def fold(self) -> None:
        """Bring the values so far to callbacks."""
        for results in self.open:
            for slot in results.slots.values():
                if slot.dirty:
                    slot.dirty = False
                    self._show(slot, results)

    def _show(self, slot: Slot, results: Results) -> None:
        """Put the value so far of one slot on the board.

        Where a slot has both, its plain name stands for the step while training goes on, else for
        the epoch.
        """
        shown, forked = self.board.callback, slot.on_step and slot.on_epoch
        shows_step = slot.on_step and (results.training or not forked)
        if shows_step and (value := slot.step_value()) is not None:
            shown[slot.step_name] = value
            if not results.complete:
                shown[slot.plain_name] = value
        if slot.on_epoch and (value := slot.epoch_value()) is not None:
            shown[slot.epoch_name] = value
            if results.complete or not (forked and results.training):
                shown[slot.plain_name] = value

    # --- steps ------------------------------------------------------------------------------------

    def train_step(self) -> None:
        """Send the values of a training step, where an accumulation window ended and it is due."""
        if self.step_is_due():
            self._send_steps(self.train, x=self.state.stepped, epoch=self.state.epoch)

    def step_is_due(self) -> bool:
        """Whether loggers are to get the values of the training step that just ran."""
        state, every = self.state, self.limits.log_every_n_steps
        if not state.window_closed or not every:
            return False
        return (state.stepped + 1) % every == 0 or self.forced or state.stop

    def steps_until_due(self) -> int:
        """After how many accumulation windows from now loggers are to get values again."""
        every = self.limits.log_every_n_steps
        if self.forced or not every:
            return 1
        done = self.state.stepped + self.state.window_closed  # the one that just ran
        return every - done % every

    def has_synced_steps(self) -> bool:
        """Whether values of single training steps are to be reduced over all ranks."""
        return any(slot.on_step and slot.travels for slot in self.train.slots.values())

    def evaluation_step(self, results: Results, x: int) -> None:
        """Send the values of an evaluation step; they have an axis of their own."""
        self._send_steps(results, x=x, epoch=None)

    def _send_steps(self, results: Results, *, x: int, epoch: int | None) -> None:
        values = {}
        for slot in self._slots_to_send(results):
            slot.stepped = False
            if slot.flags[r.LOGGER] and (value := slot.step_value()) is not None:
                values[slot.step_name] = value
        if values:
            self.send(values, x=x, epoch=epoch)

    def _slots_to_send(self, results: Results) -> list[Slot]:
        """What loggers have not seen; of what ranks reduce together, what they agreed on."""
        slots = results.step_slots()
        if self.exchange is None or not results.training:
            return slots
        agreed, self._agreed = self._agreed, []
        return [slot for slot in slots if not slot.travels or slot.metric is not None] + agreed

    # --- several ranks ----------------------------------------------------------------------------

    def forget(self) -> None:
        """Drop what was logged in training and shown: the run goes back to a checkpoint."""
        self.train.slots.clear()
        self.train.complete = False
        self._agreed = []
        for shown in (self.board.callback, self.board.logged, self.board.bar):
            shown.clear()

    def join(self, strategy: Any, session: RunSession) -> None:
        """Reduce values over the ranks of a strategy from now on."""
        rank, world_size = strategy.global_rank, strategy.world_size
        group, shares = strategy.control_group, strategy.data_world
        self.exchange = Exchange(group, rank, world_size, shares)
        self.module = session.module
        session.rank, session.ranks = rank, world_size
        session.before_monitors = partial(self.end_epoch, self.train)

    def flush(
        self,
        results: Results,
        *,
        steps: bool,
        epoch: bool,
        numbers: Sequence[float] = (),
        where: str = "",
        idle: bool = False,
    ) -> Answer | None:
        """Agree with the other ranks on the values of a stage; all have to come here.

        Reading never asks other ranks: it gives what was agreed on last, or this rank's value.

        Args:
            steps: Send values of steps that were logged since the last time.
            epoch: Send the values of the epoch so far.
            numbers: Requests that travel along, at most 8.
            where: The place in the run, for errors.
            idle: This rank had no batch.
        """
        if self.exchange is None:
            return None
        assert self.module is not None
        message = Message(self.exchange, results, self.module, idle=idle)
        if steps:
            message.add_steps(needed=not epoch)
        if epoch:
            message.add_epochs()
        answer = message.send(_kind(results, steps=steps, epoch=epoch), numbers, where)
        if steps and results.training:
            parts = [part for part in map(Part.of, answer.names) if part.what == STEP]
            self._agreed = [results.slots[p.key] for p in parts if p.key in results.slots]
        return answer

    def end_epoch(self, results: Results) -> None:
        """The batches are over: a name now stands for the value of the epoch, on all ranks."""
        if self.exchange is not None:
            where = f"epoch {self.state.epoch}"
            self.flush(results, steps=results.training, epoch=True, where=where)
        results.end_epoch()

    def close_loader(self, results: Results, loader: int) -> None:
        """Compute the metric objects of one evaluation loader before the next one begins."""
        if self.exchange is not None:
            assert self.module is not None
            message = Message(self.exchange, results, self.module)
            message.add_objects(lambda of: of == loader)
            message.send(f"the end of evaluation loader {loader}", (), "")
        results.close_loader(loader)

    # --- epochs -----------------------------------------------------------------------------------

    def close_train_epoch(self) -> None:
        """Send what the epoch came to, and begin anew."""
        self.close_epoch(self.train, x=max(self.state.stepped - 1, 0))  # of the last step
        for logger in self.loggers():
            logger.save()

    def close_epoch(self, results: Results, *, x: int) -> None:
        """Send the epoch values of a stage, and begin anew."""
        self._finish(results)
        self.results = {
            (loader, slot.epoch_name): value
            for (_, _, loader), slot in results.slots.items()
            if slot.on_epoch and slot.flags[r.LOGGER] and (value := slot.epoch_value()) is not None
        }
        if values := {name: value for (_, name), value in self.results.items()}:
            self.send(values, x=x, epoch=self.state.epoch)
        results.reset()

    def finalize(self, results: Results) -> None:
        """Bring the values of a whole epoch to callbacks, loggers and bar."""
        self.end_epoch(results)
        self._finish(results)

    def _finish(self, results: Results) -> None:
        results.close()
        results.end_epoch()
        self.fold()
        self._flagged(r.LOGGER, self.board.logged)
        self._flagged(r.PROG_BAR, self.board.bar)

    def send(self, values: dict[str, Tensor], *, x: int, epoch: int | None) -> None:
        """Write to every logger; a value called `step` replaces the x, and there is no `epoch`."""
        loggers = self.loggers()
        if not loggers:
            return
        numbers = to_numbers(values)
        if "step" in numbers:
            x = int(numbers.pop("step"))
        elif epoch is not None:
            numbers.setdefault("epoch", epoch)
        for logger in loggers:
            logger.log_metrics(metrics=dict(numbers), step=x)


def _kind(results: Results, *, steps: bool, epoch: bool) -> str:
    """What a message is for, as errors call it."""
    stage = "training" if results.training else "evaluation"
    if epoch:
        return f"the end of an epoch of {stage}"
    return f"the values of a step of {stage}" if steps else f"a meeting of {stage}"


def to_numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Bring tensors of one element to the host, all in one copy."""
    if not values:
        return {}
    tensors = [value.detach().reshape(()) for value in values.values()]
    alike = len({(t.dtype, t.device) for t in tensors}) == 1
    stacked = torch.stack(tensors if alike else [t.to("cpu", torch.float64) for t in tensors])
    return dict(zip(values, stacked.tolist(), strict=True))
