"""One batch to an optimizer step: the closure, automatic and manual."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loops.absence import Absence
from pytorch_lightning.loops.failed_saves import heed_failed_saves
from pytorch_lightning.loops.limits import window_closes
from pytorch_lightning.loops.manual import bind_manual, toggler
from pytorch_lightning.loops.parameter_groups import groups_of
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.signature import (
    Clipping,
    bind_backward,
    bind_optimizer_step,
    bind_raw_step,
    bind_training_step,
    bind_zero_grad,
)
from pytorch_lightning.loops.window import Window, as_weighted, unpack
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.rank_zero import warnings_given


class NoOptimizer:
    """Stands in when `configure_optimizers` returns None: the closure runs, nothing steps."""

    def __init__(self) -> None:
        self.param_groups: list[dict[str, Any]] = []
        self.defaults: dict[str, Any] = {}
        self.state: dict[Any, Any] = {}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run the closure."""
        return closure() if closure is not None else None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Nothing to clear."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to save."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


class Step:
    """The closure of one optimizer: training_step, zero_grad, backward, clip.

    It may be called several times for one step (LBFGS). What the hooks see is the loss divided by
    the number of accumulated batches; a window that holds fewer is corrected at its end.
    """

    def __init__(self, run: Run, index: int, optimizer: LightningOptimizer) -> None:
        assert run.train is not None
        self.run, self.data = run, run.train
        self.state, self.limits = run.state, run.limits
        self.hooks, self.session = run.hooks, run.session
        self.index = index
        self.raw = optimizer.optimizer
        self.training_step = bind_training_step(run, index)
        # None: nobody overrides it, so it is done without another call
        self.zero_grad = bind_zero_grad(run, index, self.raw)
        self.backward = bind_backward(run, index, self.raw)
        self.clip = Clipping(run, index, self.raw)
        self.optimizer_step = bind_optimizer_step(run, index, optimizer)
        self.precision = precision = run.strategy.precision_plugin
        self.unscale = (
            None if is_plain(precision, "unscale_gradients") else precision.unscale_gradients
        )
        self.may_skip = not is_plain(precision, "optimizer_step")
        self.guard = run.guard
        overridden = (self.zero_grad, self.backward, self.unscale)
        plain_step = self.optimizer_step == self.raw.step
        self.bare = plain_step and not self.clip.own and not any(overridden)
        self.compute: Callable[[], Any] = self._compute
        self.batch: Any = None
        self.batch_idx = 0
        self.output: Any = None
        self.opens = self.closes = self.called = False
        self.held_before = 0
        self.weight_before: Any = 0.0
        self.unchecked = True
        self.window = Window(run, index)
        self.absence = Absence(run, self) if run.state.several else None
        self.apart = False  # gradients of this step were not exchanged by backward
        self.empty = False  # the window holds nothing on any rank: nothing moves

    def __call__(self) -> Tensor | None:
        """Compute the gradients of one batch."""
        hooks, session = self.hooks, self.session
        if self.called:
            self.refuse_second_call()
        self.called = True
        before = session.hook
        session.hook = "training_step"
        output = self.training_step(self.batch, self.batch_idx)
        session.hook = before
        loss = self._loss(output)
        heard = hooks.in_step  # most runs have no listener here, and spare the calls
        if self.opens:
            if heard:
                hooks.on_before_zero_grad(self.raw)
            if self.zero_grad is None:
                self.raw.zero_grad()
            else:
                self.zero_grad(self.batch_idx)
        if loss is not None:
            if heard:
                hooks.on_before_backward(loss)
            if self.backward is None:
                loss.backward()  # type: ignore[no-untyped-call]
            else:
                self.backward(loss)
            if heard:
                hooks.on_after_backward()
            self.state.held[self.index] = self.held_before + 1
        else:
            loss = self._without_loss()
        if self.closes:
            self.before_step()
        return loss

    def run_batch(self, batch: Any, batch_idx: int) -> Any:
        """Run the closure, inside an optimizer step if the accumulation window ends here."""
        state, limits = self.state, self.limits
        one, clips = limits.accumulate == 1, limits.gradient_clip_val
        held, peers = state.held[self.index], self.run.peers
        if self.bare and one and not (held or clips or self.hooks.in_step or peers):
            return self._run_bare(batch, batch_idx)
        closes = one or window_closes(limits, state, is_last=self.data.is_last)
        state.window_closed = closes
        self.batch, self.batch_idx, self.closes = batch, batch_idx, closes
        self.held_before, self.weight_before = held, state.weights[self.index]
        self.opens = held == 0
        self.called = False
        if peers is not None and peers.count < peers.world:
            self.window.short = True
            self.apart = closes
        if self.absence is not None:
            self.absence.nobody = False
        if closes and not self.apart:
            self.step(self)
        elif closes:
            self.step(self._apart)
        else:
            self._without_exchange()
        if not self.called:
            raise self._not_called()
        output, self.output, self.batch = self.output, None, None
        return output

    def _apart(self) -> Tensor | None:
        """The same before a step; some optimizers call it several times."""
        self.apart = self.window.short = True
        return self._without_exchange()

    def _without_exchange(self) -> Tensor | None:
        """Compute the gradients of one batch on this rank alone."""
        strategy = self.run.strategy
        with strategy.run_alone() if self.window.short else strategy.block_backward_sync():
            return self()

    def _not_called(self) -> MisconfigurationException:
        return MisconfigurationException(
            f"`{type(self.run.module).__name__}.optimizer_step` did not call the closure; write "
            "`optimizer.step(closure=optimizer_closure)`."
        )

    def refuse_second_call(self) -> None:
        """Once the window holds batches that the closure would not compute again."""
        if self.opens:
            return
        raise MisconfigurationException(
            f"`{type(self.raw).__name__}` calls its closure several times in one step: with "
            f"`accumulate_grad_batches={self.limits.accumulate}` the last batch of a window would "
            "count as often. Pass `accumulate_grad_batches=1` and larger batches."
        )

    def _run_bare(self, batch: Any, batch_idx: int) -> Any:
        """The same where nobody overrides or hears anything inside a step: as by hand."""
        self.batch, self.batch_idx = batch, batch_idx
        self.called = False
        self.weight_before = 0.0
        self.raw.step(self.compute)
        self.state.step += 1
        self.state.window_closed = True
        if not self.called:
            raise self._not_called()
        output, self.output, self.batch = self.output, None, None
        return output

    def _compute(self) -> Tensor | None:
        session = self.session
        self.called = True
        session.hook = "training_step"
        output = self.training_step(self.batch, self.batch_idx)
        session.hook = ""
        loss = self._loss(output)
        self.raw.zero_grad()
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]
            self.run.advanced[self.index] = True
        else:
            loss = self._bare_without_loss()
        if self.state.assumed[self.index]:
            self.before_step()
            self.run.advanced[self.index] = not self.empty
        return loss

    def _without_loss(self) -> Tensor | None:
        return None if self.absence is None else self.absence.skip()

    def _bare_without_loss(self) -> Tensor | None:
        absence, self.closes, self.held_before = self.absence, True, 0
        self.run.advanced[self.index] = False
        if absence is None:
            return None
        zero, self.state.held[self.index] = absence.skip(), 0
        if absence.nobody:
            self.raw.zero_grad()
        self.run.advanced[self.index] = zero is not None and not absence.nobody
        return zero

    def step(self, closure: Callable[[], Any]) -> None:
        """Step the optimizer, and say whether it really moved."""
        state, index = self.state, self.index
        self.optimizer_step(closure)
        state.step += 1
        skipped = self.may_skip and self.precision.step_skipped
        if self.guard is not None:
            skipped = skipped or self.guard.withheld
        self.run.advanced[index] = state.held[index] > 0 and not (skipped or self.empty)
        state.held[index] = 0

    def finish(self) -> None:
        """Step with the batches that a window holds which nobody expected to end."""
        if self.state.held[self.index]:
            self.apart = self.state.several
            self.step(self.before_step)

    def before_step(self) -> None:
        """Bring the gradients to their true size, show them, clip them."""
        if self.apart:
            self.apart = False
            parameters = [p for group in self.raw.param_groups for p in group["params"]]
            self.run.strategy.average_gradients(parameters, 1 / self.window.world)
        if self.unscale is not None:
            self.unscale(self.raw)
        factor = self.window.correction()
        self.empty = factor == 0.0
        if self.absence is not None:
            self.empty |= self.absence.nobody
            self.absence.nobody = False
        if self.empty:  # the optimizer leaves parameters without a gradient alone
            self.raw.zero_grad(set_to_none=True)
            self.precision.forget_step(self.raw)
        elif factor != 1.0:
            self.run.strategy.scale_gradients(self.raw, factor)
        if self.hooks.in_step:
            self.hooks.on_before_optimizer_step(self.raw, self.index)
        if self.clip.own or self.limits.gradient_clip_val:
            self.clip()

    def _loss(self, output: Any) -> Tensor | None:
        """The loss for backward; what `on_train_batch_end` will see is kept."""
        loss: Tensor | None
        extra: dict[str, Any] | None = None
        if isinstance(output, Tensor):
            loss = output
        elif output is None:
            _say_skipped()
            self.output = None
            return None
        elif (weighted := as_weighted(output)) is not None:
            return self._weighted_loss(*weighted)
        else:
            loss, extra = unpack(output)
            if loss is None:
                _say_skipped()
                self.output = extra
                return None
        if self.unchecked:
            _check_loss(loss, self.run.module)
            self.unchecked = False
        if self.state.assumed[self.index]:
            raise MisconfigurationException(
                "`training_step` returned a plain loss after weighted ones: return "
                "`(loss_sum, weight)` for all batches, or for none."
            )
        divisor = self.limits.accumulate
        if divisor != 1:
            loss = loss / divisor
        self.output = {"loss": loss.detach()}
        if extra:
            self.output.update(extra)
        peers = self.run.peers
        if peers is not None and peers.count != peers.world:
            loss = loss * (peers.world / peers.count)  # the mean over the ranks that have data
        return loss

    def _weighted_loss(self, loss_sum: Tensor, weight: Any, extra: dict[str, Any]) -> Tensor:
        if self.unchecked:
            _check_loss(loss_sum, self.run.module)
            self.unchecked = False
        loss = self.window.share(loss_sum, weight, self.weight_before)
        mean = loss_sum.detach() / weight if isinstance(weight, Tensor) or weight else loss.detach()
        self.output = {"loss": mean, **extra}
        return loss


def _say_skipped() -> None:
    warnings_given.warn(
        "`training_step` returned None: the batch is skipped. If this was unintended, return the "
        "loss."
    )


def _check_loss(loss: Tensor, module: LightningModule) -> None:
    if loss.numel() != 1:
        raise MisconfigurationException(
            f"`training_step` returned a loss of shape {tuple(loss.shape)}; it must be one number, "
            "e.g. `loss.mean()`."
        )
    own_backward = not is_plain(module, "backward")
    if not loss.requires_grad and not own_backward:
        raise MisconfigurationException(
            "`training_step` returned a loss without a graph (`loss.requires_grad` is False): "
            "compute it from parameters that are trained, without `.detach()`, `.item()` or "
            "`torch.no_grad()`; or return None to skip the batch."
        )


# --- the three ways, bound when the run is built ------------------------------------------------


def bind_optimization(run: Run) -> None:
    """Choose how a batch is optimized: by one optimizer, by several in turn, or by the user."""
    count = max(len(run.raw_optimizers), 1)
    if len(run.advanced) != count:  # else it came from a checkpoint
        run.advanced = [False] * count
    if run.configured_groups is None:
        run.configured_groups = groups_of(run.module, run.raw_optimizers)
    if not run.module.automatic_optimization:
        bind_manual(run)
    else:
        _bind_automatic(run)
    if not is_plain(run.strategy, "on_train_batch_start"):
        run.strategy_starts = run.strategy.on_train_batch_start
    heed_failed_saves(run)
    if "training_epoch_end" in run.hooks.heard:
        run.optimize = _collecting(run, run.optimize)


def _bind_automatic(run: Run) -> None:
    state, count = run.state, max(len(run.optimizers), 1)
    for name in ("held", "weights", "assumed"):
        if len(getattr(state, name)) != count:
            setattr(state, name, [0] * count)
    wrapped = run.optimizers or [LightningOptimizer(NoOptimizer())]  # type: ignore[arg-type]  # acts
    for optimizer in wrapped:
        optimizer.attach(_engine(bind_raw_step(run, optimizer.optimizer)), toggler(run))
    steps = [Step(run, index, optimizer) for index, optimizer in enumerate(wrapped)]
    run.optimize = steps[0].run_batch if len(steps) == 1 else _several(run, steps)

    def finish_window() -> None:
        for step in steps:
            step.finish()

    run.finish_window = finish_window
    run.idle = partial(_idle, run, steps)
    if all(step.absence is not None and step.absence.stands_in for step in steps):
        run.leave_out = partial(_leave_out, run, steps)


def _collecting(run: Run, optimize: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """Keep the outputs of an epoch for `training_epoch_end`."""
    assert run.train is not None
    outputs = run.train.outputs

    def optimize_and_keep(batch: Any, batch_idx: int) -> Any:
        output = optimize(batch, batch_idx)
        if output is not None:
            outputs.append(output)
        return output

    return optimize_and_keep


def _several(run: Run, steps: list[Step]) -> Callable[[Any, int], Any]:
    """Each optimizer in turn, or the one whose turn it is by `frequency`."""
    session = run.session

    def optimize(batch: Any, batch_idx: int) -> Any:
        run.advanced[:] = [False] * len(steps)
        outputs = []
        for step in _active(run, steps, batch_idx):
            session.toggle(step.raw)
            outputs.append(step.run_batch(batch, batch_idx))
            session.untoggle()
        return outputs[0] if run.frequencies else outputs

    return optimize


def _active(run: Run, steps: list[Step], batch_idx: int) -> list[Step]:
    turns = [index for index, count in enumerate(run.frequencies) for _ in range(count)]
    return [steps[turns[batch_idx % len(turns)]]] if turns else steps


def _idle(run: Run, steps: list[Step]) -> None:
    """Take part in the steps of a batch that only other ranks have."""
    run.advanced[:] = [False] * len(steps)
    if run.strategy_starts is not None:
        run.strategy_starts(None, run.state.batch)
    for step in _active(run, steps, run.state.batch):
        assert step.absence is not None
        step.absence.idle()


def _leave_out(run: Run, steps: list[Step]) -> None:
    """Take part in the steps of a batch that is None on this rank."""
    if run.strategy_starts is not None:
        run.strategy_starts(None, run.state.batch)
    own = [step.training_step for step in steps]
    try:
        for step in steps:
            step.training_step = run.strategy.step_of_nothing
        run.optimize(None, run.state.batch)
    finally:
        for step, training_step in zip(steps, own, strict=True):
            step.training_step = training_step


def _engine(step: Callable[..., Any]) -> Callable[[LightningOptimizer, Any, dict[str, Any]], Any]:
    """`LightningOptimizer.step` in automatic optimization: through strategy and precision."""
    return lambda optimizer, closure, options: step(closure, **options)
