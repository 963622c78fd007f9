"""What `configure_optimizers` may return, as plain data; and the wrapper that users step."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Protocol, runtime_checkable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.model_helpers import is_overridden
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.signatures import is_param_in_hook_signature
from pytorch_lightning.utilities.suggest import did_you_mean
from pytorch_lightning.utilities.types import LRSchedulerConfig

__all__ = [
    "Configured",
    "LRSchedulerConfig",
    "LightningOptimizer",
    "MisconfigurationException",
    "Optimizable",
    "do_nothing_closure",
    "is_overridden",
    "is_param_in_hook_signature",
    "parse_optimizers",
    "rank_zero_warn",
]

FORMS = """\
one optimizer, a list or tuple of optimizers, ([optimizers], [schedulers]), \
{"optimizer": ..., "lr_scheduler": ..., "monitor": ...}, a list of such dictionaries, or None"""


@runtime_checkable
class Optimizable(Protocol):
    """Whatever can be stepped like a torch optimizer."""

    param_groups: list[dict[str, Any]]
    defaults: dict[str, Any]
    state: Any

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...
    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self, closure: Callable[[], Any] | None = None) -> Any: ...


def do_nothing_closure() -> None:
    """Stand in where a step needs a closure and there is nothing to compute."""


Engine = Callable[["LightningOptimizer", Callable[[], Any], dict[str, Any]], Any]


class LightningOptimizer:
    """An optimizer whose `step` goes through precision, hooks and counters of the run.

    It answers `isinstance` for the class of the optimizer it wraps, and hands everything but
    `step` and `toggle_model` through to it.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        own = self.__dict__
        own["optimizer"] = optimizer
        own["_engine"] = None
        own["_toggle"] = None

    @property  # type: ignore[misc]  # isinstance() asks for it
    def __class__(self) -> type:
        return type(self.optimizer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["optimizer"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "step" or name in self.__dict__:  # schedulers count calls of `step` this way
            self.__dict__[name] = value
        else:
            setattr(self.optimizer, name, value)

    def __repr__(self) -> str:
        return f"Lightning{self.optimizer!r}"

    def __reduce__(self) -> Any:
        return (LightningOptimizer, (self.optimizer,))  # a copy belongs to no run

    def attach(self, engine: Engine, toggle: Callable[[Optimizer | None], None]) -> None:
        """Let a run carry out steps and toggling."""
        self.__dict__["_engine"] = engine
        self.__dict__["_toggle"] = toggle

    def step(self, closure: Callable[[], Any] | None = None, **kwargs: Any) -> Any:
        """Step, after the closure (if any) has computed the gradients.

        Raises:
            MisconfigurationException: If `closure` cannot be called.
        """
        if closure is None:
            closure = do_nothing_closure
        elif not callable(closure):
            raise MisconfigurationException(
                f"`step(closure={closure!r})`: a closure must be callable; pass a function or None."
            )
        engine: Engine | None = self.__dict__["_engine"]
        if engine is None:
            return self.optimizer.step(closure, **kwargs)
        return engine(self, closure, kwargs)

    @contextmanager
    def toggle_model(self, sync_grad: bool = True) -> Iterator[None]:
        """Compute gradients for this optimizer's parameters only.

        Args:
            sync_grad: Whether processes exchange these gradients; False while accumulating.
        """
        toggle = self.__dict__["_toggle"]
        if toggle is None:
            yield
            return
        toggle(self.optimizer)
        try:
            yield
        finally:
            toggle(None)


@dataclass
class Configured:
    """What `configure_optimizers` returned, in one form.

    Attributes:
        frequencies: One number per optimizer (1.x), or empty.
    """

    optimizers: list[Any] = field(default_factory=list)
    schedulers: list[LRSchedulerConfig] = field(default_factory=list)
    frequencies: list[int] = field(default_factory=list)


def parse_optimizers(returned: Any, *, automatic: bool = True) -> Configured:
    """Bring what `configure_optimizers` returned into one form.

    Raises:
        MisconfigurationException: If it is none of the documented forms.
    """
    found = _by_form(returned)
    for position, optimizer in enumerate(found.optimizers):
        if not isinstance(optimizer, Optimizable):
            raise _unknown_form(returned, f"number {position} is a {type(optimizer).__name__}")
    for config in found.schedulers:
        _check_scheduler(config, found.optimizers, automatic=automatic)
    return found


def _unknown_form(returned: Any, detail: str = "") -> MisconfigurationException:
    what = f"{type(returned).__name__} {returned!r}"[:200]
    return MisconfigurationException(
        f"`configure_optimizers` returned {what}{' (' + detail + ')' if detail else ''}; "
        f"return {FORMS}."
    )


def _by_form(returned: Any) -> Configured:
    if returned is None:
        return Configured()
    if isinstance(returned, Mapping):
        return _from_dicts([returned], single=True)
    if isinstance(returned, list | tuple) and returned:
        if isinstance(returned, tuple) and _is_pair_of_lists(returned):
            schedulers = returned[1] if isinstance(returned[1], list | tuple) else [returned[1]]
            return Configured(list(returned[0]), [_config_of(s) for s in schedulers])
        if all(isinstance(item, Mapping) for item in returned):
            return _from_dicts(returned, single=False)
        if all(isinstance(item, Optimizable) for item in returned):
            return Configured(list(returned))
        if isinstance(returned, list) and _is_pair_of_lists(returned):
            return _by_form(tuple(returned))
    if isinstance(returned, list | tuple) and not returned:
        return Configured()
    if isinstance(returned, Optimizable):
        return Configured([returned])
    raise _unknown_form(returned)


def _is_pair_of_lists(returned: Sequence[Any]) -> bool:
    if len(returned) != 2 or not isinstance(returned[0], list | tuple):
        return False
    second = returned[1]
    if isinstance(second, list | tuple):
        return not any(isinstance(item, Optimizable) for item in second)
    return hasattr(second, "step") and not isinstance(second, Optimizable)


_OPTIMIZER_KEYS = ("optimizer", "lr_scheduler", "monitor", "frequency")


def _from_dicts(items: Sequence[Mapping[str, Any]], *, single: bool) -> Configured:
    found = Configured()
    for index, item in enumerate(items):
        for key in item:
            if key not in _OPTIMIZER_KEYS:
                rank_zero_warn(
                    f"`configure_optimizers` returned the unknown key {key!r}; it is ignored."
                    + did_you_mean(str(key), _OPTIMIZER_KEYS)
                )
        if "optimizer" not in item:
            raise _unknown_form(dict(item), "the key 'optimizer' is missing")
        found.optimizers.append(item["optimizer"])
        scheduler = item.get("lr_scheduler")
        if scheduler is not None:
            config = _config_of(scheduler, monitor=item.get("monitor"))
            config.opt_idx = index if config.opt_idx is None and not single else config.opt_idx
            found.schedulers.append(config)
        if item.get("frequency") is not None:
            found.frequencies.append(_frequency(item["frequency"]))
    if found.frequencies and len(found.frequencies) != len(found.optimizers):
        raise ValueError(
            "`configure_optimizers`: only some optimizers have a `frequency`; give one to all."
        )
    if single:
        found.frequencies.clear()  # one optimizer is active on every batch
    return found


def _frequency(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise MisconfigurationException(f"`frequency={value!r}` of an optimizer: pass an int >= 1.")
    return value


def _config_of(scheduler: Any, *, monitor: str | None = None) -> LRSchedulerConfig:
    if isinstance(scheduler, LRSchedulerConfig):
        return scheduler
    if not isinstance(scheduler, Mapping):
        plateau = isinstance(scheduler, ReduceLROnPlateau)
        return LRSchedulerConfig(scheduler, reduce_on_plateau=plateau, monitor=monitor)
    known = [f.name for f in fields(LRSchedulerConfig)]
    for key in scheduler:
        if key not in known:
            rank_zero_warn(
                f"Found the unknown key {key!r} in a learning rate scheduler; it is ignored."
                + did_you_mean(str(key), known),
                category=RuntimeWarning,
            )
    if "scheduler" not in scheduler:
        raise MisconfigurationException(
            f"The learning rate scheduler {dict(scheduler)!r} has no key 'scheduler'; "
            'write {"scheduler": ..., "interval": ...}.'
        )
    settings = {key: value for key, value in scheduler.items() if key in known}
    plateau = isinstance(settings["scheduler"], ReduceLROnPlateau)
    config = LRSchedulerConfig(**{"reduce_on_plateau": plateau, **settings})
    if config.monitor is None:
        config.monitor = monitor
    return config


def _check_scheduler(config: LRSchedulerConfig, optimizers: list[Any], *, automatic: bool) -> None:
    scheduler = config.scheduler
    if not hasattr(scheduler, "step"):
        raise MisconfigurationException(
            f"`configure_optimizers`: {type(scheduler).__name__} is no learning rate scheduler; "
            "it has no `step`."
        )
    if config.interval not in ("step", "epoch"):
        raise MisconfigurationException(
            f"`interval={config.interval!r}` of a learning rate scheduler: pass 'step' or 'epoch'."
            + did_you_mean(str(config.interval), ("step", "epoch"))
        )
    if not isinstance(config.frequency, int) or config.frequency < 1:
        raise MisconfigurationException(
            f"`frequency={config.frequency!r}` of a learning rate scheduler: pass an int >= 1."
        )
    _check_monitor(config, automatic=automatic)
    owner = getattr(scheduler, "optimizer", None)
    raw = [
        getattr(o, "optimizer", o) if isinstance(o, LightningOptimizer) else o for o in optimizers
    ]
    if isinstance(scheduler, LRScheduler | ReduceLROnPlateau) and all(
        o is not getattr(owner, "optimizer", owner) and o is not owner for o in raw
    ):
        raise MisconfigurationException(
            f"The scheduler {type(scheduler).__name__} was made for an optimizer that "
            "`configure_optimizers` does not return; return that optimizer as well."
        )


def _check_monitor(config: LRSchedulerConfig, *, automatic: bool) -> None:
    if automatic and config.reduce_on_plateau and config.monitor is None:
        raise MisconfigurationException(
            "`ReduceLROnPlateau` needs a metric to watch: return "
            '{"optimizer": ..., "lr_scheduler": ..., "monitor": "val_loss"}.'
        )
    if not automatic and (config.monitor is not None or not config.strict):
        rank_zero_warn(
            "With manual optimization schedulers are stepped by you: the keys `monitor`, `strict` "
            "and `reduce_on_plateau` are ignored.",
            category=RuntimeWarning,
        )
    if config.interval == "epoch" and type(config.scheduler).__name__ == "OneCycleLR":
        rank_zero_warn(
            "`OneCycleLR` counts optimizer steps but its `interval` is 'epoch': return "
            '{"scheduler": ..., "interval": "step"}.',
            category=RuntimeWarning,
        )
