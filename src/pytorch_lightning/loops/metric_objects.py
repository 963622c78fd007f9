"""torchmetrics objects, recognised and asked without importing the package."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pytorch_lightning.distributed.collectives import distributed_available
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.tree import map_leaves


def is_metric(value: Any) -> bool:
    """Whether a value is a torchmetrics `Metric`; who holds one has loaded the package."""
    package = sys.modules.get("torchmetrics")
    return package is not None and isinstance(value, package.Metric)


def is_collection(value: Any) -> bool:
    """Whether a value is a torchmetrics `MetricCollection`."""
    package = sys.modules.get("torchmetrics")
    return package is not None and isinstance(value, package.MetricCollection)


def attribute_of(module: nn.Module, metric: Any, given: str | None) -> str:
    """The attribute of a module that holds a metric.

    Raises:
        MisconfigurationException: If there is none: the metric would not move with the module.
    """
    for name, child in module.named_modules():
        if child is metric or (given is not None and name == given):
            return str(name)
    raise MisconfigurationException(
        f"`self.log` got a {type(metric).__name__} that is no attribute of "
        f"{type(module).__name__}: assign it in `__init__` (`self.metric = ...`), so that it moves "
        f"to the device and is reset" + (f"; there is no {given!r}." if given else ".")
    )


def compute(metric: Any, collection: Any, name: str, *, over_ranks: bool = False) -> Tensor | None:
    """What a metric object holds so far; None when it saw nothing.

    Args:
        over_ranks: Of all ranks, which all have to come here; else of this process alone.

    Raises:
        ValueError: If it computes something else than one tensor.
    """
    if collection is not None:  # metrics of one collection share their state until asked
        list(collection.items(keep_base=True, copy_state=False))
    if over_ranks:
        value = _computed_over_ranks(metric)
    elif not getattr(metric, "update_called", True):
        return None
    elif distributed_available():
        with _alone(metric):
            value = metric.compute()
    else:
        value = metric.compute()
    if not isinstance(value, Tensor):
        raise ValueError(
            f"The metric logged as {name!r} computes a {type(value).__name__}; "
            "`self.log` needs one tensor. For a dictionary use `self.log_dict(metric.compute())`."
        )
    return value.detach().clone()


def _computed_over_ranks(metric: Any) -> Any:
    with warnings.catch_warnings():
        if not metric.update_called:  # here; another rank has data
            warnings.filterwarnings("ignore", "The ``compute`` method", UserWarning)
        return metric.compute()


@contextmanager
def _alone(metric: nn.Module) -> Iterator[None]:
    """Let a metric object, and those within it, compute without asking other ranks."""
    parts: list[Any] = [part for part in metric.modules() if hasattr(part, "_to_sync")]
    before = [(part._to_sync, part._computed) for part in parts]
    for part in parts:
        part._to_sync, part._computed = False, None
    try:
        yield
    finally:
        for part, (synced, computed) in zip(parts, before, strict=True):
            part._to_sync, part._computed = synced, computed


States = dict[str, dict[str, Any]]  # of metric objects, by their name in the module

_COUNTERS = ("_update_count", "_computed", "_forward_cache", "_is_synced")


@contextmanager
def put_aside(module: nn.Module) -> Iterator[States]:
    """Let one metric object serve two stages: what it holds waits while another stage runs."""
    held = {name: _state(metric, _COUNTERS) for name, metric in _metrics(module)}
    for _, metric in _metrics(module):
        metric.reset()  # idle ones as well: it gives them other tensors than those held here
    try:
        yield held
    finally:
        for name, metric in _metrics(module):
            metric.__dict__.update(held.get(name, {}))


def capture_metrics(module: nn.Module) -> States:
    """What the metric objects of a module hold, for a checkpoint; idle ones are left out."""
    for child in module.modules():
        if is_collection(child):  # its metrics share their state until asked
            list(child.items(keep_base=True, copy_state=False))  # type: ignore[operator]  # known
    used = ((name, metric) for name, metric in _metrics(module) if metric.update_called)
    return {name: _state(metric, ("_update_count",)) for name, metric in used}


def without_caches(states: States) -> States:
    """What `put_aside` holds, as `capture_metrics` gives it."""
    dropped = {"_computed", "_forward_cache", "_is_synced"}
    return {
        name: {key: value for key, value in state.items() if key not in dropped}
        for name, state in states.items()
        if state.get("_update_count")
    }


def restore_metrics(module: nn.Module, states: States) -> None:
    """Let metric objects go on from what a checkpoint held."""
    for name, metric in _metrics(module):
        if name in states:
            metric.__dict__.update(map_leaves(states[name], Tensor, _to_device_of(metric)))
            metric._computed = None


def _to_device_of(metric: Any) -> Callable[[Tensor], Tensor]:
    return lambda tensor: tensor.to(metric.device)


def _metrics(module: nn.Module) -> list[tuple[str, Any]]:
    package = sys.modules.get("torchmetrics")
    if package is None:
        return []
    return [(n, m) for n, m in module.named_modules() if isinstance(m, package.Metric)]


def _state(metric: Any, counters: tuple[str, ...]) -> dict[str, Any]:
    found = metric.__dict__
    return {
        name: list(value) if isinstance(value := found[name], list) else value
        for name in (*metric._defaults, *counters)
        if name in found
    }
