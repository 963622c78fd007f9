"""Methods of the module bound to what the loop passes, whatever release their signature is of."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loops.pulling import More, more_training, pulling_step, pulls
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain
from pytorch_lightning.utilities.signatures import (
    Capacity,
    accepts_parameter,
    parameters,
    positional_capacity,
)

_CONTEXTS = {
    "training_step": "train_step_context",
    "validation_step": "val_step_context",
    "test_step": "test_step_context",
    "predict_step": "predict_step_context",
}


def overrides(module: LightningModule, name: str) -> bool:
    """Whether the module has its own version of a method that is not a mere no-op."""
    return not is_plain(module, name)


def step_callable(run: Run, name: str) -> Callable[..., Any]:
    """A step as the strategy calls it, or the method itself where nobody is in between."""
    strategy, precision = run.strategy, run.strategy.precision_plugin
    direct = is_plain(strategy, name) and is_plain(precision, _CONTEXTS[name], "forward_context")
    call: Callable[..., Any] = getattr(run.module if direct else strategy, name)
    if run.profile is not None:
        call = run.profile(f"[Strategy]{type(strategy).__name__}.{name}", call)
    if not is_plain(precision, "convert_output"):
        call = _then(call, precision.convert_output)
    if name == "training_step" and not is_plain(strategy, "post_training_step"):
        call = _then(call, lambda output: strategy.post_training_step() or output)
    ending = getattr(run.module, f"{name}_end", None)  # 1.x
    if ending is None or not is_overridden_hook(run.module, f"{name}_end"):
        return call
    session = run.session

    def step_and_end(*args: Any) -> Any:
        output = call(*args)
        session.hook = f"{name}_end"  # the caller puts back what was before the step
        return ending(output)

    return step_and_end


def _then(call: Callable[..., Any], treat: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *args: treat(call(*args))


def asks_for_optimizer(module: LightningModule) -> bool:
    """Whether `training_step` has the argument `optimizer_idx` of 1.x."""
    return accepts_parameter(module.training_step, "optimizer_idx")


def bind_training_step(run: Run, index: int | None) -> Callable[[Any, int], Any]:
    """`training_step(batch)`, `(batch, batch_idx)` or `(batch, batch_idx, optimizer_idx)`.

    Or `(dataloader_iter)`, which pulls its batches itself.
    """
    call = step_callable(run, "training_step")
    if pulls(run.module, "training_step"):
        own = pulling_step("training_step", call, partial(more_training, run))
        if asks_for_optimizer(run.module) and index is not None:
            return lambda batch, batch_idx: own(batch, batch_idx, 0, index)
        return own
    capacity = positional_capacity(run.module.training_step)
    if "hiddens" in capacity.names:
        raise MisconfigurationException(
            "`training_step(..., hiddens)`: truncated back-propagation through time is done with "
            "manual optimization; set `self.automatic_optimization = False` and keep the hidden "
            "state in the module."
        )
    if asks_for_optimizer(run.module) and index is not None:
        if capacity.maximum == 2:
            return lambda batch, batch_idx: call(batch, index)
        return lambda batch, batch_idx: call(batch, batch_idx, index)
    _check_room("training_step", capacity, "batch, batch_idx", most=2)
    if capacity.maximum == 1:
        return lambda batch, batch_idx: call(batch)
    return call


def bind_zero_grad(run: Run, index: int, optimizer: Any) -> Callable[[int], None] | None:
    """The module's own `optimizer_zero_grad`, in the release of its signature."""
    module, state, session = run.module, run.state, run.session
    if not overrides(module, "optimizer_zero_grad"):
        return None
    own: Callable[..., Any] = module.optimizer_zero_grad
    has_index = "optimizer_idx" in parameters(own) or positional_capacity(own).required == 4

    def own_zero_grad(batch_idx: int) -> None:
        before = session.hook
        session.hook = "optimizer_zero_grad"
        if has_index:
            own(state.epoch, batch_idx, optimizer, index)
        else:
            own(state.epoch, batch_idx, optimizer)
        session.hook = before

    return own_zero_grad


def bind_backward(run: Run, index: int, optimizer: Any) -> Callable[[Tensor], Any] | None:
    """Backward through strategy, precision and the module's own `backward`, where one is."""
    module, strategy, session = run.module, run.strategy, run.session
    precision = strategy.precision_plugin
    own, guard = overrides(module, "backward"), run.guard
    verbs = ("pre_backward", "backward", "post_backward")
    if not (own or guard) and is_plain(strategy, *verbs) and is_plain(precision, *verbs):
        return None
    extra: tuple[Any, ...] = ()
    if own:
        room = positional_capacity(module.backward)
        extra = (optimizer, index)[: int(min(max(room.required - 1, 0), 2))]

    def backward(loss: Tensor) -> None:
        if guard is not None:
            guard.see_loss(loss, optimizer)
        before = session.hook
        session.hook = "backward"
        strategy.backward(loss, optimizer, *extra)
        session.hook = before

    return backward


class Clipping:
    """`configure_gradient_clipping`, called on every step once somebody overrides it."""

    def __init__(self, run: Run, index: int, optimizer: Any) -> None:
        module = run.module
        self.own = overrides(module, "configure_gradient_clipping") or overrides(
            module, "clip_gradients"
        )
        self.configure: Callable[..., Any] = module.configure_gradient_clipping
        has_index = "optimizer_idx" in parameters(self.configure)
        self.leading = (optimizer, index) if has_index else (optimizer,)
        self.limits, self.session = run.limits, run.session

    def __call__(self) -> None:
        """Clip the gradients, or let the module do what it does instead."""
        session, limits = self.session, self.limits
        before = session.hook
        session.hook = "configure_gradient_clipping"
        self.configure(*self.leading, limits.gradient_clip_val, limits.gradient_clip_algorithm)
        session.hook = before


def bind_raw_step(run: Run, raw: Any) -> Callable[..., Any]:
    """What steps an optimizer in the end: strategy and precision, or itself with none between."""
    strategy = run.strategy
    direct = is_plain(strategy, "optimizer_step") and is_plain(
        strategy.precision_plugin, "optimizer_step"
    )
    step: Callable[..., Any] = raw.step
    if not direct:
        step = partial(strategy.optimizer_step, raw, model=run.module)
    return step if run.guard is None else partial(run.guard.step, raw, step)


_FLAGS_OF_1X = ("on_tpu", "using_native_amp", "using_lbfgs")


def bind_optimizer_step(
    run: Run, index: int, optimizer: LightningOptimizer
) -> Callable[[Callable[[], Any]], Any]:
    """The shortest way from a closure to `optimizer.step` that skips nobody's override."""
    module, state, session = run.module, run.state, run.session
    raw = optimizer.optimizer
    own: Callable[..., Any] = module.optimizer_step
    if not overrides(module, "optimizer_step"):
        return bind_raw_step(run, raw)
    found = parameters(own)
    has_index = (
        "optimizer_idx" in found
        or positional_capacity(own).maximum is not math.inf
        and (positional_capacity(own).required > 4)
    )
    flags = {name: False for name in _FLAGS_OF_1X if accepts_parameter(own, name)}
    if "using_lbfgs" in flags:
        flags["using_lbfgs"] = type(raw).__name__ == "LBFGS"

    def step(closure: Callable[[], Any]) -> None:
        before = session.hook
        session.hook = "optimizer_step"
        batch_idx = state.batch
        if has_index:
            own(state.epoch, batch_idx, optimizer, index, closure, **flags)
        else:
            own(state.epoch, batch_idx, optimizer, closure, **flags)
        session.hook = before

    return step


def _check_room(name: str, capacity: Capacity, arguments: str, *, most: int) -> None:
    """Refuse a step that takes no batch, or that asks for more than there is.

    Raises:
        MisconfigurationException: If it takes nothing.
        TypeError: If it asks for more, as its call would.
    """
    if capacity.maximum == 0:
        raise MisconfigurationException(
            f"`{name}` must take the batch as an argument; write `def {name}(self, {arguments})`."
        )
    if capacity.required > most:
        raise TypeError(
            f"`{name}` asks for {capacity.names[most]!r}, which nobody gives; write "
            f"`def {name}(self, {arguments})`, or give it a default."
        )


def bind_evaluation_step(
    run: Run, name: str, num_loaders: int, more: More
) -> Callable[[Any, int, int], Any]:
    """`validation_step(batch)`, `(batch, batch_idx)` or `(batch, batch_idx, dataloader_idx)`.

    Or `(dataloader_iter)`, which pulls its batches itself.

    Args:
        more: Reads and counts another batch, for the last of these.

    Raises:
        RuntimeError: If there are several loaders and the step does not ask which one, or one
            loader and the step insists.
    """
    call = step_callable(run, name)
    if pulls(run.module, name):
        return pulling_step(name, call, more)
    capacity = positional_capacity(getattr(run.module, name))
    _check_room(name, capacity, "batch, batch_idx, dataloader_idx=0", most=3)
    if num_loaders > 1 and capacity.maximum < 3:
        raise RuntimeError(
            f"`{name}` is given batches of {num_loaders} loaders but does not take "
            f"`dataloader_idx`; write `def {name}(self, batch, batch_idx, dataloader_idx)`."
        )
    if num_loaders <= 1 and capacity.required >= 3:
        raise RuntimeError(
            f"`{name}` asks for `dataloader_idx` but there is one loader; give it a default: "
            f"`def {name}(self, batch, batch_idx, dataloader_idx=0)`."
        )
    if capacity.maximum == 1:
        return lambda batch, batch_idx, loader: call(batch)
    if capacity.maximum == 2:
        return lambda batch, batch_idx, loader: call(batch, batch_idx)
    if num_loaders <= 1 and "dataloader_idx" not in capacity.names and capacity.maximum < math.inf:
        return lambda batch, batch_idx, loader: call(batch, batch_idx)
    return call
