"""One batch where the module steps its optimizers itself."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.signature import bind_raw_step, bind_training_step
from pytorch_lightning.loops.waiting import Moves, waiting_schedulers
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain

Engine = Callable[[LightningOptimizer, Callable[[], Any], dict[str, Any]], Any]


def toggler(run: Run) -> Callable[[Any], None]:
    """Switch off the gradients of the parameters that other optimizers have, and on again."""
    return lambda raw: run.session.toggle(raw) if raw is not None else run.session.untoggle()


def _manual_engine(run: Run) -> Engine:
    """`LightningOptimizer.step` in manual optimization."""
    state, precision = run.state, run.strategy.precision_plugin
    guard = run.guard
    may_skip = not is_plain(precision, "optimizer_step")
    moves = [Moves() for _ in run.optimizers]
    steps = [bind_raw_step(run, raw) for raw in run.raw_optimizers]
    if may_skip or guard is not None:
        run.session.schedulers = waiting_schedulers(run, moves)

    def engine(optimizer: LightningOptimizer, closure: Callable[[], Any], options: Any) -> Any:
        index = next(i for i, o in enumerate(run.raw_optimizers) if o is optimizer.optimizer)

        def compute() -> Any:
            result = closure()
            precision.unscale_gradients(optimizer.optimizer)
            run.hooks.on_before_optimizer_step(optimizer.optimizer, index)
            return result

        result = steps[index](compute, **options)
        state.step += 1
        state.held[index] = 0
        skipped = may_skip and precision.step_skipped
        moves[index].tried += 1
        moves[index].made += not (skipped or guard is not None and guard.withheld)
        return result

    return engine


def bind_manual(run: Run) -> None:
    """The user calls `backward` and `step`; both still go through precision and hooks."""
    state, session = run.state, run.session
    training_step = bind_training_step(run, None)
    if len(state.held) != len(run.optimizers):
        state.held = [0] * len(run.optimizers)

    def backward(loss: Tensor, *args: Any, **kwargs: Any) -> None:
        run.hooks.on_before_backward(loss)
        if run.guard is not None:
            run.guard.see_loss(loss, None)
        before = session.hook
        session.hook = "backward"
        run.strategy.backward(loss, None, *args, **kwargs)
        session.hook = before
        run.hooks.on_after_backward()
        state.held[:] = [count + 1 for count in state.held]

    engine = _manual_engine(run)
    for optimizer in run.optimizers:
        optimizer.attach(engine, toggler(run))
    session.on_manual_backward = backward

    def optimize(batch: Any, batch_idx: int) -> Any:
        state.window_closed = True
        before = session.hook
        session.hook = "training_step"
        output = training_step(batch, batch_idx)
        session.hook = before
        if isinstance(output, Tensor):
            return {"loss": output.detach()}
        if output is None:
            return {}
        if not isinstance(output, Mapping):
            raise MisconfigurationException(
                f"`training_step` returned a {type(output).__name__}; with manual optimization "
                "return a tensor, a dictionary or None."
            )
        return {k: v.detach() if isinstance(v, Tensor) else v for k, v in output.items()}

    run.optimize = optimize
