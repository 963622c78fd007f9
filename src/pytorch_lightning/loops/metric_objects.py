"""torchmetrics objects, recognised and asked without importing the package."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pytorch_lightning.utilities.exceptions import MisconfigurationException


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


def compute(metric: Any, collection: Any, name: str) -> Tensor | None:
    """What a metric object holds so far; None when it saw nothing.

    Raises:
        ValueError: If it computes something else than one tensor.
    """
    if collection is not None:  # metrics of one collection share their state until asked
        list(collection.items(keep_base=True, copy_state=False))
    if not getattr(metric, "update_called", True):
        return None
    value = metric.compute()
    if not isinstance(value, Tensor):
        raise ValueError(
            f"The metric logged as {name!r} computes a {type(value).__name__}; "
            "`self.log` needs one tensor. For a dictionary use `self.log_dict(metric.compute())`."
        )
    return value.detach().clone()


@contextmanager
def put_aside(module: nn.Module) -> Iterator[None]:
    """Let one metric object serve two stages: what it holds waits while another stage runs."""
    package = sys.modules.get("torchmetrics")
    if package is None:
        yield
        return
    held = [(m, _take(m)) for m in module.modules() if isinstance(m, package.Metric)]
    try:
        yield
    finally:
        for metric, state in held:
            metric.__dict__.update(state)


_COUNTERS = ("_update_count", "_computed", "_forward_cache", "_is_synced")


def _take(metric: Any) -> dict[str, Any]:
    names = (*metric._defaults, *(name for name in _COUNTERS if name in metric.__dict__))
    state = {
        name: list(value) if isinstance(value := metric.__dict__[name], list) else value
        for name in names
        if name in metric.__dict__
    }
    if metric.update_called:
        metric.reset()
    return state
