"""The session: what a module, its hooks and `self.log` ask of the run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.loops import results as r
from pytorch_lightning.loops.metric_objects import attribute_of, is_collection, is_metric
from pytorch_lightning.loops.over_ranks import members_of
from pytorch_lightning.loops.results import Results, Slot
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_warn, warnings_given
from pytorch_lightning.utilities.types import LRSchedulerConfig
from pytorch_lightning.utilities.warnings import PossibleUserWarning

OUTSIDE = ""  # no hook is running


class RunSession:
    """Implements `core.session.Session` for one run.

    Attributes:
        hook: Name of the hook that is running, or ''.
        loader: Index of the evaluation loader whose batch is running, where there are several.
        results: Where logged values go: those of the stage that is running.
        samples: Samples in the running batch, once somebody asked; 1 where no batch is running.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self.hook: str = OUTSIDE
        self.loader: int | None = None
        self.results = Results(training=True)
        self.slots = self.results.slots
        self.batch: Any = None
        self.count_samples: Callable[[Any], float] = lambda batch: 1.0
        self.samples: float | None = 1.0
        self.optimizers: list[LightningOptimizer] = []
        self.schedulers: list[LRSchedulerConfig] = []
        self.has_loggers = True
        self.rank, self.ranks = 0, 1
        self.before_monitors: Callable[[], None] | None = None  # of several ranks: agree on values
        self.disabled = False
        self.on_manual_backward: Callable[..., None] | None = None
        self.on_clip: Callable[[Any, Any, Any], None] | None = None
        self.on_print: Callable[..., None] = print
        self.on_gather: Callable[[Any, Any, bool], Any] = lambda data, group, sync_grads: data
        self.left_by: tuple[BaseException, str] | None = None
        self.toggled: dict[Any, bool] = {}  # parameters that wait, and what they required

    @contextmanager
    def inside(self, hook: str) -> Iterator[None]:
        """Name a hook that is not called through the table; remember which error left it."""
        before, self.hook = self.hook, hook
        try:
            yield
        except BaseException as error:
            if self.left_by is None or self.left_by[0] is not error:
                self.left_by = error, hook
            raise
        finally:
            self.hook = before

    def where(self, error: BaseException) -> str:
        """Name the hook that raised an error; '' between hooks."""
        left_by, self.left_by = self.left_by, None
        return left_by[1] if left_by is not None and left_by[0] is error else self.hook

    # --- logging --------------------------------------------------------------------------------

    def enter(self, results: Results) -> Results:
        """Send what is logged from now on to the results of another stage."""
        before, self.results, self.slots = self.results, results, results.slots
        return before

    def new_batch(self, batch: Any) -> None:
        """Another batch is running."""
        self.batch = batch
        self.samples = None

    def no_batch(self) -> None:
        """The batch is over: what is logged now weighs as one sample."""
        self.batch = None
        self.samples = 1.0

    def weigh(self) -> float:
        """How many samples the running batch holds; found at most once per batch."""
        if self.samples is None:
            # a value of a whole epoch has no batch: all of them weigh the same
            self.samples = 1.0 if self.batch is None else self.count_samples(self.batch)
        return self.samples

    def record(self, name: str, value: Any, batch_size: int | None, flags: tuple[Any, ...]) -> None:
        """Take one logged value."""
        slot = self.slots.get((self.hook, name, self.loader))
        if slot is None or slot.asked != flags:
            slot = self._slot(name, value, flags)
            if slot is None:
                return
        try:
            if slot.metric is None and (type(value) is Tensor or not is_metric(value)):
                slot.add(value, batch_size, self.weigh)
            elif is_metric(value):
                slot.add_metric(value)
            else:
                slot.refuse_mixture()
        except (RuntimeError, TypeError, ValueError):
            _check_value(name, value)
            raise
        slot.dirty = slot.stepped = True

    def record_dict(
        self, values: Mapping[str, Any], batch_size: int | None, flags: tuple[Any, ...]
    ) -> None:
        """Take several logged values, or a collection of metrics."""
        if is_collection(values):
            items: Any = values.items(keep_base=False, copy_state=False)  # type: ignore[call-arg]
            for name, metric in items:
                self._record_member(name, metric, values, flags)
            return
        for name, value in values.items():
            self.record(name, value, batch_size, flags)

    def _record_member(
        self, name: str, metric: Any, collection: Any, flags: tuple[Any, ...]
    ) -> None:
        slot = self.slots.get((self.hook, name, self.loader))
        if slot is None or slot.asked != flags:
            slot = self._slot(name, metric, flags)
        if slot is not None:
            slot.add_metric(metric, collection)
            slot.dirty = slot.stepped = True

    def _slot(self, name: str, value: Any, flags: tuple[Any, ...]) -> Slot | None:
        """Open the slot of a name, after everything that can be wrong was checked once."""
        if self.disabled:
            warnings_given.warn("`self.log()` does nothing with `Trainer(barebones=True)`.")
            return None
        if flags[r.RANK_ZERO] and self.rank:
            return None
        key = (self.hook, name, self.loader)
        resolved = self._resolve(name, value, flags)
        self.results.has_steps |= resolved[r.ON_STEP]
        known = self.slots.get(key)
        if known is not None and known.asked is not None:  # else only other ranks logged it
            if not _alike(known.flags, resolved):
                raise MisconfigurationException(
                    f"`self.log({name!r}, ...)` was called twice in `{self.hook}` with different "
                    "arguments; use the same arguments or another name."
                )
            known.asked = flags  # spelled otherwise, the same in effect
            self._choose_ranks(known, resolved[r.GROUP])
            return known
        slot = Slot(name, self.loader if flags[r.ADD_IDX] else None, resolved)
        slot.asked = flags
        if self.ranks > 1:
            self._choose_ranks(slot, resolved[r.GROUP])
            _advise_reduction(slot, value)
        self.slots[key] = slot
        return slot

    def _choose_ranks(self, slot: Slot, group: Any) -> None:
        if not slot.travels or group is None or self.ranks == 1:
            return
        slot.members = members_of(group)
        slot.travels = slot.members is None or self.rank in slot.members

    def _resolve(self, name: str, value: Any, flags: tuple[Any, ...]) -> tuple[Any, ...]:
        _check_value(name, value)
        on_step, on_epoch = self._when(name, flags)
        reduce = r.reduction(flags[r.REDUCE])
        if "/dataloader_idx_" in name and flags[r.ADD_IDX]:
            raise MisconfigurationException(
                f"`self.log({name!r}, ...)`: the name must not contain '/dataloader_idx_'; "
                "it is appended by itself (or pass `add_dataloader_idx=False`)."
            )
        if is_metric(value):
            attribute_of(self.module, value, flags[r.ATTRIBUTE])
        if flags[r.LOGGER] and not self.has_loggers:
            rank_zero_warn(
                f"`self.log({name!r}, ..., logger=True)`: this `Trainer` has no logger; "
                "pass one as `Trainer(logger=...)`."
            )
        logger = True if flags[r.LOGGER] is None else flags[r.LOGGER]
        return (flags[0], logger, on_step, on_epoch, reduce, *flags[5:])

    def _when(self, name: str, flags: tuple[Any, ...]) -> tuple[bool, bool]:
        rule = HOOKS[self.hook].logging if self.hook in HOOKS else None
        if rule is None:
            where = f"inside `{self.hook}`" if self.hook else "outside the hooks of a run"
            raise MisconfigurationException(
                f"`self.log({name!r}, ...)` cannot be called {where}; call it in a step, or in a "
                "hook about a batch or an epoch of training, validation or test."
            )
        on_step = rule.on_step if flags[r.ON_STEP] is None else flags[r.ON_STEP]
        on_epoch = rule.on_epoch if flags[r.ON_EPOCH] is None else flags[r.ON_EPOCH]
        if on_step and not rule.step_allowed:
            raise MisconfigurationException(
                f"`self.log({name!r}, ..., on_step=True)` in `{self.hook}`: only `on_epoch=True` "
                "makes sense there."
            )
        if not on_step and not on_epoch:
            raise MisconfigurationException(
                f"`self.log({name!r}, ..., on_step=False, on_epoch=False)` would log nothing; "
                "set one of them."
            )
        return on_step, on_epoch

    # --- optimization ---------------------------------------------------------------------------

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backward through precision and hooks."""
        if self.on_manual_backward is None:
            raise MisconfigurationException("`self.manual_backward()` was called outside of fit.")
        self.on_manual_backward(loss, *args, **kwargs)

    def clip_gradients(self, optimizer: Any, clip_val: Any, algorithm: Any) -> None:
        """Clip through the precision."""
        if self.on_clip is not None:
            self.on_clip(getattr(optimizer, "optimizer", optimizer), clip_val, algorithm)

    def toggle(self, optimizer: Any) -> None:
        """Compute no gradients for parameters that only other optimizers own."""
        self.untoggle()
        raw = optimizer.optimizer if type(optimizer) is LightningOptimizer else optimizer
        mine = {p for group in raw.param_groups for p in group["params"]}
        for other in self.optimizers:
            for group in other.optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter not in mine and parameter not in self.toggled:
                        self.toggled[parameter] = parameter.requires_grad
                        parameter.requires_grad = False

    def untoggle(self, optimizer: Any = None) -> None:
        """Give every parameter back what `toggle` took."""
        for parameter, required in self.toggled.items():
            parameter.requires_grad = required
        self.toggled.clear()

    # --- the rest -------------------------------------------------------------------------------

    def all_gather(self, data: Any, group: Any, sync_grads: bool) -> Any:
        """Gather through the strategy."""
        return self.on_gather(data, group, sync_grads)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print without breaking the progress bar."""
        self.on_print(*args, **kwargs)


def _alike(known: tuple[Any, ...], asked: tuple[Any, ...]) -> bool:
    """Whether two calls mean the same; a group is an object of its process, not of a file."""
    return known[: r.GROUP] == asked[: r.GROUP] and known[r.GROUP + 1 :] == asked[r.GROUP + 1 :]


def _advise_reduction(slot: Slot, value: Any) -> None:
    alone = not slot.flags[r.SYNC] and not slot.flags[r.RANK_ZERO] and not is_metric(value)
    if slot.on_epoch and alone:
        warnings_given.warn(
            f"`self.log({slot.name!r}, ...)` gives the value of an epoch on each rank by itself. "
            f"It is recommended to use `self.log({slot.name!r}, ..., sync_dist=True)`, which "
            "reduces it over all ranks.",
            category=PossibleUserWarning,
        )


def _check_value(name: str, value: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"`self.log({name!r}, ...)`: the name must be a string.")
    if is_metric(value):
        return
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(
                f"`self.log({name!r}, ...)` got a tensor of shape {tuple(value.shape)}; pass one "
                "element, e.g. `value.mean()`."
            )
        if not value.dtype.is_floating_point:
            _say_integer(name, str(value.dtype))
        return
    if isinstance(value, Mapping):
        raise ValueError(f"`self.log({name!r}, ...)` got a mapping; use `self.log_dict(...)`.")
    if isinstance(value, bool | int):
        _say_integer(name, type(value).__name__)
    elif not isinstance(value, float) and not _is_number(value):
        raise ValueError(
            f"`self.log({name!r}, {value!r})`: a {type(value).__name__} cannot be logged; pass a "
            "number, a tensor with one element or a torchmetrics `Metric`."
        )


def _is_number(value: Any) -> bool:
    """NumPy's scalars are numbers too; strings that look like one are not."""
    return (
        not isinstance(value, str | bytes)
        and hasattr(value, "__float__")
        and hasattr(value, "dtype")
    )


def _say_integer(name: str, kind: str) -> None:
    warnings_given.warn(
        f"You called `self.log({name!r}, ...)` with a {kind}; it is converted to "
        f"{torch.get_default_dtype()}."
    )
