"""What `self.log` recorded: sums that stay on the device until somebody reads them."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_lightning.loops.metric_objects import compute
from pytorch_lightning.utilities.exceptions import MisconfigurationException

Weigh = Callable[[], float]  # how many samples the running batch holds
Taker = Callable[[Any, float | None, Weigh], None]

# Positions in the tuple of arguments that `LightningModule.log` hands over.
PROG_BAR, LOGGER, ON_STEP, ON_EPOCH, REDUCE, GRAPH, SYNC, GROUP, ADD_IDX, ATTRIBUTE, RANK_ZERO = (
    range(11)
)
_REDUCTIONS: dict[Any, str] = {
    "mean": "mean",
    "avg": "mean",
    "sum": "sum",
    "min": "min",
    "max": "max",
    torch.mean: "mean",
    torch.sum: "sum",
    torch.min: "min",
    torch.max: "max",
    sum: "sum",
    min: "min",
    max: "max",
}


class Slot:
    """One logged name: the value of the last step, and the reduction over the epoch.

    Sums are kept in float64 where the device has it, since float32 stops counting at 2**24.
    """

    __slots__ = (
        "add",
        "agreed_epoch",
        "agreed_step",
        "asked",
        "collection",
        "dirty",
        "flags",
        "keep",
        "last",
        "loader",
        "members",
        "metric",
        "name",
        "number",
        "on_epoch",
        "on_step",
        "public",
        "reduce",
        "settled",
        "stepped",
        "total",
        "travels",
        "weight",
    )

    def __init__(self, name: str, loader: int | None, flags: tuple[Any, ...]) -> None:
        self.name = name
        self.loader = loader
        self.flags = flags
        self.asked: tuple[Any, ...] | None = flags  # before defaults were filled in
        self.on_step: bool = flags[ON_STEP]
        self.on_epoch: bool = flags[ON_EPOCH]
        self.reduce = reduction(flags[REDUCE])
        self.metric: Any = None
        self.collection: Any = None  # that the metric is part of
        self.last: Any = None  # of the last step: a tensor of its own, or a number
        self.total: Any = None
        self.weight: float | Tensor = 0
        self.number = False  # only Python numbers so far: no device is touched
        self.public: torch.dtype = torch.get_default_dtype()
        self.dirty = False  # logged since somebody read it
        self.stepped = False  # logged since step values were last sent to loggers
        self.add: Taker = self._open
        self.keep: Taker = self._keep_value  # for the value of a step
        # Of several ranks; readers get the agreed values, sums stay those of this rank.
        self.travels: bool = flags[SYNC] and not flags[RANK_ZERO]
        self.members: Sequence[int] | None = None  # the ranks that reduce it; None: all
        self.agreed_step: Tensor | None = None
        self.agreed_epoch: Tensor | None = None
        self.settled = False  # the metric object was asked, and not logged again

    @property
    def step_name(self) -> str:
        """The name under which loggers see the value of a step."""
        return _suffixed(self.name, "_step" if self.on_epoch else "", self.loader)

    @property
    def epoch_name(self) -> str:
        """The name under which loggers see the value of an epoch."""
        return _suffixed(self.name, "_epoch" if self.on_step else "", self.loader)

    @property
    def plain_name(self) -> str:
        """The name without `_step` or `_epoch`."""
        return _suffixed(self.name, "", self.loader)

    # --- taking a value: one device operation per kind ------------------------------------------

    def _open(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        """Take the first value, and bind what takes the next ones."""
        self.number = not isinstance(value, Tensor)
        if isinstance(value, Tensor):
            self.public = _public_type(value.dtype)
            wide = torch.float64 if value.device.type != "mps" else torch.float32
            with torch.inference_mode(False):
                kept = wide if self._adds_what_it_keeps else self.public
                self.last = torch.zeros((), dtype=kept, device=value.device)
                start = {"min": math.inf, "max": -math.inf}.get(self.reduce, 0.0)
                self.total = torch.full((), start, dtype=wide, device=value.device)
            self.add = self._binding()
        else:
            self.total = {"min": math.inf, "max": -math.inf}.get(self.reduce, 0.0)
            self.add = self._add_number
        self.weight = 0
        self.add(value, weight, weigh)

    @property
    def _adds_what_it_keeps(self) -> bool:
        """Whether the value of a step is kept as wide as the sum: two cheap operations then."""
        both = self.on_step and self.on_epoch and self.reduce == "mean"
        return both and not self.flags[GRAPH]

    def _binding(self) -> Taker:
        self.keep = self._keep_graph if self.flags[GRAPH] else self._keep_value
        if not self.on_epoch:
            return self.keep
        if self.reduce != "mean":
            return self._add_reduced
        if self._adds_what_it_keeps:
            return self._add_kept
        return self._add_both if self.on_step else self._add_mean

    def _keep_value(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        if isinstance(value, Tensor):
            value = value.detach()
            self.last.copy_(value.reshape(()) if value.ndim else value)
        else:
            self.last.fill_(value)

    def _keep_graph(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        self.last = value if isinstance(value, Tensor) else torch.as_tensor(value)

    def _add_mean(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        if weight is None:
            weight = weigh()
        if isinstance(value, Tensor):
            value = value.detach()
            if value.ndim:
                value = value.reshape(())
            self.total.add_(value, alpha=weight)
        else:
            self.total.add_(value * weight)
        self.weight += weight

    def _add_kept(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        if weight is None:
            weight = weigh()
        last = self.last
        if isinstance(value, Tensor):
            value = value.detach()
            last.copy_(value.reshape(()) if value.ndim else value)
        else:
            last.fill_(value)
        self.total.add_(last, alpha=weight)
        self.weight += weight

    def _add_both(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        self._add_mean(value, weight, weigh)
        self.keep(value, None, weigh)

    def _add_reduced(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        total = self.total
        with torch.no_grad():
            wide = torch.as_tensor(value, dtype=total.dtype, device=total.device).reshape(())
            if self.reduce == "sum":
                total.add_(wide)
            else:
                total.copy_(getattr(torch, f"{self.reduce}imum")(total, wide))
        self.weight += 1
        if self.on_step:
            self.keep(value, None, weigh)

    def _add_number(self, value: Any, weight: float | None, weigh: Weigh) -> None:
        if isinstance(value, Tensor):  # numbers first, tensors now: go on with tensors
            self._to_tensors(value)
            return self.add(value, weight, weigh)
        self.last = float(value + 0.0)  # a string is no number, though `float` takes it
        if self.on_epoch:
            if self.reduce != "mean":
                weight = 1
            elif weight is None:
                weight = weigh()
            self.weight += weight
            if self.reduce in ("mean", "sum"):
                self.total += self.last * weight
            else:
                self.total = (min if self.reduce == "min" else max)(self.total, self.last)
        return None

    def _to_tensors(self, value: Tensor) -> None:
        total, last, weight = self.total, self.last, self.weight
        self._open(torch.zeros((), device=value.device, dtype=value.dtype), 0.0, float)
        self.total.fill_(total)
        self.last.fill_(last if last is not None else 0.0)
        self.weight = weight

    def add_metric(self, metric: Any, collection: Any = None) -> None:
        """Remember a torchmetrics object; it keeps its own state."""
        if self.metric is None:
            if self.weight:
                self.refuse_mixture()
            self.total, self.add = None, self._open
        self.metric, self.collection, self.settled = metric, collection, False
        if self.on_step:
            self.last = getattr(metric, "_forward_cache", None)
            if isinstance(self.last, Tensor):
                self.last = self.last.detach().clone()

    def refuse_mixture(self) -> None:
        """Say that one name cannot stand for both."""
        raise ValueError(
            f"`self.log({self.name!r}, ...)` got a number and a metric object in one epoch; use "
            "another name for one of them."
        )

    # --- reading -------------------------------------------------------------------------------

    def step_value(self) -> Any:
        """The value of the last step: a tensor of its own; None before the first."""
        if self.agreed_step is not None:
            return self.agreed_step.clone()
        if isinstance(self.last, Tensor):
            if self.flags[GRAPH] or self.metric is not None:
                return self.last if self.flags[GRAPH] else self.last.clone()
            return self.last.to(self.public, copy=True)
        return None if self.last is None else torch.tensor(self.last, dtype=self.public)

    def epoch_value(self) -> Any:
        """The reduction of what was logged so far; None when nothing was."""
        if self.agreed_epoch is not None:
            return self.agreed_epoch.clone()
        if self.metric is not None:  # closed with its loader or epoch, else its value so far
            return (
                self.total
                if self.total is not None
                else compute(self.metric, self.collection, self.name)
            )
        if not self.weight:
            return None
        value = self.total / self.weight if self.reduce == "mean" else self.total
        if self.number:
            return torch.tensor(value, dtype=self.public)
        return value.to(self.public, copy=True)

    def close(self) -> bool:
        """Compute the metric object, if there is one that was not; say whether there was."""
        if self.metric is None or self.total is not None:
            return False
        self.total = self.epoch_value()
        return True

    def reset(self) -> None:
        """Begin anew; the tensors are kept."""
        self.weight = 0
        self.dirty = self.stepped = self.settled = False
        self.agreed_epoch = None
        if self.metric is not None:
            self.metric = self.collection = self.total = self.last = None
        elif isinstance(self.total, Tensor):
            start = {"min": math.inf, "max": -math.inf}.get(self.reduce, 0.0)
            self.total.fill_(start)
        else:
            self.add = self._open

    # --- resume --------------------------------------------------------------------------------

    def state_dict(self, names: dict[int, str]) -> dict[str, Any]:
        """The open sums as plain data, and the name of the metric object.

        Args:
            names: Of the modules that may be metric objects.
        """
        total = self.total.clone() if isinstance(self.total, Tensor) else self.total
        last = self.last.detach().clone() if isinstance(self.last, Tensor) else self.last
        return {
            "number": self.number,
            "total": total,
            "last": last,
            "weight": self.weight,
            "double": self.public == torch.float64,
            "dirty": self.dirty,
            "stepped": self.stepped,
            "metric": names.get(id(self.metric)),
            "collection": names.get(id(self.collection)),
            "members": self.members,
        }

    def load_state_dict(self, saved: dict[str, Any], device: torch.device) -> None:
        """Continue sums that a checkpoint held."""
        self.number, self.weight = saved["number"], saved["weight"]
        self.total, self.last = saved["total"], saved["last"]
        self.stepped = saved.get("stepped", False)
        self.public = torch.float64 if saved["double"] else torch.float32
        if self.number:
            self.add = self._add_number if self.weight else self._open
        elif isinstance(self.total, Tensor):
            self.total = self.total.to(device)
            if isinstance(self.last, Tensor):
                self.last = self.last.to(device)
            self.add = self._binding()
        self.dirty, self.stepped = saved.get("dirty", True), saved.get("stepped", False)
        self.members = saved.get("members")


def _suffixed(name: str, suffix: str, loader: int | None) -> str:
    return f"{name}{suffix}" if loader is None else f"{name}{suffix}/dataloader_idx_{loader}"


def _public_type(dtype: torch.dtype) -> torch.dtype:
    if not dtype.is_floating_point:
        return torch.get_default_dtype()
    return dtype if dtype == torch.float64 else torch.float32


def reduction(reduce_fx: Any) -> str:
    """The name of a reduction.

    Raises:
        MisconfigurationException: If it is none that can be summed up while a run goes on.
    """
    try:
        return _REDUCTIONS[reduce_fx.lower() if isinstance(reduce_fx, str) else reduce_fx]
    except (KeyError, TypeError):
        raise MisconfigurationException(
            f"`self.log(reduce_fx={reduce_fx!r})`: pass 'mean', 'min', 'max' or 'sum'. "
            "For anything else log a torchmetrics `Metric` object."
        ) from None


def unseen_slot(key: tuple[str, str, int | None], flags: Sequence[Any]) -> Slot:
    """A slot that other ranks have logged, and this one has not.

    Args:
        flags: As `plain_flags` gives them.
    """
    slot = Slot(key[1], key[2] if flags[ADD_IDX] else None, tuple(flags))
    slot.asked = None
    return slot


class Results:
    """The slots of one stage; a key is (hook, name, loader)."""

    def __init__(self, *, training: bool) -> None:
        self.training = training
        self.has_steps = False
        self.complete = False  # the epoch has ended: its values are those of the whole of it
        self.slots: dict[tuple[str, str, int | None], Slot] = {}

    def step_slots(self) -> list[Slot]:
        """Slots whose step values loggers have not seen."""
        return [s for s in self.slots.values() if s.stepped and s.on_step]

    def close_loader(self, loader: int) -> None:
        """Compute the metric objects of one evaluation loader before the next one begins."""
        self._close([s for (_, _, of), s in self.slots.items() if of == loader])

    def close(self) -> None:
        """Compute all metric objects, and let them begin anew."""
        self._close(list(self.slots.values()))

    def _close(self, slots: list[Slot]) -> None:
        for slot in [s for s in slots if s.close()]:  # all first: they may share their state
            slot.metric.reset()

    def end_epoch(self) -> None:
        """The batches are over: a name now stands for the value of the epoch."""
        self.complete = True
        for slot in self.slots.values():
            logged = slot.metric is not None or slot.weight or slot.agreed_epoch is not None
            if slot.on_epoch and logged:
                slot.dirty = True

    def reset(self) -> None:
        """Begin a new epoch."""
        self.complete = False
        for slot in self.slots.values():
            slot.reset()

    def state_dict(self, module: nn.Module) -> list[Any]:
        """The open slots as plain data; metric objects by their names in the module."""
        names: dict[int, str] = {}  # by identity: the hash of a metric object changes
        if any(slot.metric is not None for slot in self.slots.values()):
            names = {id(child): name for name, child in module.named_modules()}
        return [
            [hook, name, loader, plain_flags(slot.flags), slot.state_dict(names)]
            for (hook, name, loader), slot in self.slots.items()
            if slot.metric is not None or slot.weight or slot.last is not None
        ]

    def load_state_dict(
        self, saved: Iterable[Any], device: torch.device, module: nn.Module
    ) -> None:
        """Continue the slots that a checkpoint held."""
        for hook, name, loader, flags, state in saved:
            slot = self.slots.setdefault(
                (hook, name, loader), Slot(name, loader if flags[ADD_IDX] else None, tuple(flags))
            )
            slot.load_state_dict(state, device)
            self.has_steps |= slot.on_step
            if state.get("metric") is not None:
                slot.metric = module.get_submodule(state["metric"])
                slot.add = slot._open
            if state.get("collection") is not None:
                slot.collection = module.get_submodule(state["collection"])


def plain_flags(flags: tuple[Any, ...]) -> list[Any]:
    """The arguments of `log` as a file holds them: no process group, reductions by name."""
    plain = list(flags)
    plain[REDUCE] = reduction(flags[REDUCE])
    plain[GROUP] = None
    return plain
