"""The hooks of one run, bound once: only those that somebody overrides are ever called."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.hooks import HOOKS, is_overridden_hook
from pytorch_lightning.loops.recording import RunSession
from pytorch_lightning.utilities.signatures import positional_capacity

Listener = Callable[..., Any]

# Arguments that came or went between releases: hook -> how many the module's version has, and
# which value an older signature gets for the one more that it asks for.
_LOADER_HOOKS = {
    f"on_{stage}_batch_{moment}"
    for stage in ("validation", "test", "predict")
    for moment in ("start", "end")
}
_IN_STEP = (
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
)


def silent(*args: Any) -> None:
    """Stand in for a hook that nobody overrides."""


class Hooks:
    """One attribute per hook of the table: a callable, `silent` when nobody listens.

    A hook returns what the module's own method returned. Slots, since they are read many times
    per step.
    """

    __slots__ = (
        *HOOKS,
        "heard",
        "in_step",
        "on_idle_batch_end",
        "one_by_one",
        "save_callbacks",
        "save_checks",
        "save_owners",
    )

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Listener: ...

    def __init__(self) -> None:
        self.heard: frozenset[str] = frozenset()
        self.on_idle_batch_end: Listener = silent  # of a training batch that only other ranks have
        self.in_step = True  # does anybody hear a hook between `training_step` and the update?
        self.one_by_one: dict[str, list[Listener]] = {}  # where each is called for itself
        self.save_callbacks: list[Listener] = []  # `on_save_checkpoint`; weights alone skip these
        self.save_owners: list[Listener] = []
        self.save_checks: list[Listener] = []  # may refuse to have this state saved

    def bind(
        self,
        session: RunSession,
        *,
        trainer: Any,
        module: Any,
        datamodule: Any,
        callbacks: Sequence[Any],
        profile: Callable[[str, Listener], Listener] | None = None,
    ) -> None:
        """Find out who listens; called again whenever that may have changed."""
        heard = set()
        self._bind_saving(trainer, module, datamodule, callbacks)
        for name, hook in HOOKS.items():
            listeners: list[Listener] = []
            own: Listener | None = None
            late: list[Listener] = []
            if hook.datamodule and datamodule is not None and is_overridden_hook(datamodule, name):
                told_last = name == "on_exception"  # as documented: after the callbacks
                data_listener = _adapted(name, getattr(datamodule, name), skip=0)
                (late if told_last else listeners).append(data_listener)
            if hook.callback:
                for callback in callbacks:
                    if is_overridden_hook(callback, name):
                        method = _adapted(name, getattr(callback, name), skip=2)
                        monitors = getattr(callback, "monitors_metrics", False)
                        last = name == "on_train_epoch_end" and monitors
                        (late if last else listeners).append(partial(method, trainer, module))
            if hook.module and is_overridden_hook(module, name):
                own = _adapted(name, getattr(module, name), skip=0)
            if profile is not None:
                listeners, late = ([profile(name, f) for f in fs] for fs in (listeners, late))
                own = profile(name, own) if own is not None else None
            if listeners or late or own is not None:
                heard.add(name)
            if name in ("on_exception", "prepare_data", "teardown"):
                self.one_by_one[name] = [*listeners, *filter(None, [own]), *late]
            setattr(self, name, _caller(session, name, listeners, own, late))
        idle = [
            partial(callback.on_train_batch_end, trainer, module)
            for callback in callbacks
            if getattr(callback, "meets_idle_ranks", False)
        ]
        self.on_idle_batch_end = _caller(session, "on_train_batch_end", idle, None, ())
        self._join_hooks_around_batches()
        self.heard = frozenset(heard)
        self.in_step = not self.heard.isdisjoint(_IN_STEP)

    def _join_hooks_around_batches(self) -> None:
        """`on_batch_start` and `on_batch_end` of 1.x cost nothing where nobody has them."""
        begins: Listener = self.on_batch_start
        starts: Listener = self.on_train_batch_start
        if begins is not silent:

            def start(batch: Any, batch_idx: int) -> Any:
                begins()
                return starts(batch, batch_idx)

            setattr(self, "on_train_batch_start", start)  # noqa: B010 - a slot of the table
        ends: Listener = self.on_batch_end
        end: Listener = self.on_train_batch_end
        if ends is not silent:

            def end_both(outputs: Any, batch: Any, batch_idx: int) -> None:
                end(outputs, batch, batch_idx)
                ends()

            setattr(self, "on_train_batch_end", end_both)  # noqa: B010 - likewise

    def _bind_saving(self, trainer: Any, module: Any, datamodule: Any, callbacks: Any) -> None:
        name = "on_save_checkpoint"
        self.save_callbacks = [
            partial(getattr(callback, name), trainer, module)
            for callback in callbacks
            if is_overridden_hook(callback, name)
        ]
        self.save_checks = [
            partial(callback.check_before_save, trainer, module)
            for callback in callbacks
            if hasattr(callback, "check_before_save")
        ]
        self.save_owners = [
            getattr(owner, name)
            for owner in (module, datamodule)
            if is_overridden_hook(owner, name)
        ]


def _caller(
    session: RunSession,
    name: str,
    listeners: Sequence[Listener],
    own: Listener | None,
    late: Sequence[Listener],
) -> Listener:
    """One function for all listeners of a hook; the name is set for `self.log` and for notes."""
    if name == "on_train_epoch_end" and session.before_monitors is not None:
        late = [session.before_monitors, *late]
    if not listeners and not late and own is None:
        return silent
    if own is None and not late:
        before_own = tuple(listeners)

        def call_all(*args: Any) -> None:
            before = session.hook
            session.hook = name
            for listener in before_own:
                listener(*args)
            session.hook = before

        return call_all

    def call_in_order(*args: Any) -> Any:
        before = session.hook
        session.hook = name
        for listener in listeners:
            listener(*args)
        result = own(*args) if own is not None else None
        for listener in late:
            listener(*args)
        session.hook = before
        return result

    return call_in_order


def _adapted(name: str, method: Listener, *, skip: int) -> Listener:
    """A listener that takes today's arguments, whatever release its signature is of.

    Args:
        skip: Leading arguments that are not the hook's own: trainer and module.
    """
    if name in _LOADER_HOOKS:
        wanted = positional_capacity(method)
        today = (3 if name.endswith("start") else 4) + skip
        if wanted.maximum < today:
            return lambda *args: method(*args[: int(wanted.maximum)])
    if name == "on_before_optimizer_step":
        wanted = positional_capacity(method)
        if wanted.maximum is not math.inf and wanted.maximum >= skip + 2:
            return method
        return lambda *args: method(*args[: skip + 1])
    if name == "on_predict_epoch_end":
        wanted = positional_capacity(method)
        if wanted.required <= skip:
            return lambda *args: method(*args[:skip])
    if name in ("setup", "teardown"):
        return _stage_by_keyword(method, skip)
    return method


def _stage_by_keyword(method: Listener, skip: int) -> Listener:
    return lambda *args: method(*args[:skip], stage=args[skip])
