"""Logged values that all ranks reduce together: into one message, and back."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.distributed.exchange import Answer, Exchange, Value
from pytorch_lightning.loops import results as r
from pytorch_lightning.loops.metric_objects import compute
from pytorch_lightning.loops.results import Results, Slot
from pytorch_lightning.utilities.exceptions import MisconfigurationException

Key = tuple[str, str, int | None]  # hook, name, loader: as in `Results.slots`
STEP, EPOCH, OBJECT = "step", "epoch", "object"


class Part(NamedTuple):
    """What of a slot travels: the value of a step, the sums of an epoch, or a metric object."""

    key: Key
    what: str
    reduce: str

    @property
    def name(self) -> str:
        """As it travels; errors show what is before the tab."""
        hook, name, loader = self.key
        return f"{name}\t{json.dumps([hook, loader, self.what, self.reduce])}"

    @classmethod
    def of(cls, name: str) -> "Part":
        """What `name` gave."""
        shown, _, rest = name.rpartition("\t")
        hook, loader, what, reduce = json.loads(rest)
        return cls((hook, shown, loader), what, reduce)


class Message:
    """The logged values of one stage that go into one message.

    Args:
        exchange: Sends it.
        module: Holds the metric objects.
        idle: This rank had no batch: it has no value of a step to contribute.
    """

    def __init__(
        self, exchange: Exchange, results: Results, module: nn.Module, *, idle: bool = False
    ) -> None:
        self.exchange = exchange
        self.results = results
        self.module = module
        self.idle = idle
        self.values: dict[str, Value] = {}

    def add_steps(self, *, needed: bool = True) -> None:
        """Add the last value of each name that was logged since loggers got such values.

        Args:
            needed: All ranks have to send the same names.
        """
        for key, slot in self.results.slots.items():
            if slot.stepped and slot.on_step and slot.metric is None and slot.travels:
                self._add(Part(key, STEP, slot.reduce), slot, slot.last, 1.0, needed=needed)

    def add_epochs(self) -> None:
        """Add the sums of this epoch so far, and say which metric objects there are."""
        for key, slot in self.results.slots.items():
            if slot.metric is None and slot.on_epoch and slot.weight and slot.travels:
                self._add(Part(key, EPOCH, slot.reduce), slot, slot.total, slot.weight)
        self.add_objects(lambda loader: True)

    def add_objects(self, wanted: Callable[[int | None], bool]) -> None:
        """Say which metric objects there are that were not asked yet.

        Args:
            wanted: Of which loaders.
        """
        for key, slot in self.results.slots.items():
            waits = slot.metric is not None and slot.total is None and not slot.settled
            if waits and wanted(key[2]) and not slot.flags[r.RANK_ZERO]:
                used = float(getattr(slot.metric, "update_called", True))
                self._add(Part(key, OBJECT, ""), slot, 0.0, used)

    def _add(self, part: Part, slot: Slot, total: Any, weight: Any, *, needed: bool = True) -> None:
        of = slot.members
        rule = HOOKS[part.key[0]].logging if part.key[0] in HOOKS else None
        if part.what != STEP and rule is not None and rule.step_allowed:
            of = ()  # of other batches: a rank that logged none weighs nothing
        if part.what == STEP and (not needed or of is None and self.idle):
            of = ()
        self.values[part.name] = Value(total, weight, of, self._note(slot))

    def _note(self, slot: Slot) -> Any:
        """What makes the slot on a rank that does not have it."""
        flags, members = r.plain_flags(slot.flags), slot.members
        wide = slot.public == torch.float64
        if slot.metric is None:
            return [flags, None, None, members, wide]
        names = {id(child): name for name, child in self.module.named_modules()}
        return [flags, names.get(id(slot.metric)), names.get(id(slot.collection)), members, wide]

    # --- there and back ---------------------------------------------------------------------------

    def send(self, kind: str, numbers: Sequence[float], where: str) -> Answer:
        """Send it; the slots of all ranks then have the values of all of them for readers.

        What a rank has added up itself stays as it is.
        """
        answer = self.exchange.send(kind, self.values, numbers, where, idle=self.idle)
        parts = [Part.of(name) for name in answer.names]
        _refuse_mixtures(parts)
        for index, part in enumerate(parts):
            slot = self._slot(part, answer.notes.get(answer.names[index]))
            if slot is None:
                continue
            rows = self.exchange.counted if slot.members is None else list(slot.members)
            totals, weights = answer.values[rows, index], answer.weights[rows, index]
            if (note := answer.notes.get(answer.names[index])) is not None:
                slot.public = torch.float64 if note[4] else torch.float32  # as on the other ranks
            if part.what == OBJECT:
                self._ask(slot, used=bool(weights.any()))
            else:
                self._settle(slot, part, reduced(part, totals, weights))
        return answer

    def _slot(self, part: Part, note: Any) -> Slot | None:
        """The slot, made where this rank did not log the name; None if it is not for this rank."""
        if note is not None and note[3] is not None and self.exchange.rank not in note[3]:
            return None
        slot = self.results.slots.get(part.key)
        if slot is None:
            slot = r.unseen_slot(part.key, note[0])
            self.results.slots[part.key] = slot
            self.results.has_steps |= slot.on_step
        if note is not None and note[1] is not None and slot.metric is None:
            slot.metric = self.module.get_submodule(note[1])
            slot.collection = self.module.get_submodule(note[2]) if note[2] is not None else None
        return slot

    def _settle(self, slot: Slot, part: Part, value: Tensor | None) -> None:
        if value is None:
            return
        value = value.to(slot.public)
        if part.what == STEP:
            slot.agreed_step = value
        else:
            slot.agreed_epoch = value
        slot.dirty = True

    def _ask(self, slot: Slot, *, used: bool) -> None:
        """Let a metric object compute; all ranks come by here in the same order."""
        if used:
            slot.agreed_epoch = compute(slot.metric, slot.collection, slot.name, over_ranks=True)
        slot.settled = slot.dirty = True


def _refuse_mixtures(parts: Sequence[Part]) -> None:
    found: dict[tuple[Key, str], Part] = {}
    for part in parts:
        kind = STEP if part.what == STEP else EPOCH
        other = found.setdefault((part.key, kind), part)
        if other != part:
            raise MisconfigurationException(
                f"`self.log({part.key[1]!r}, ..., sync_dist=True)` in `{part.key[0]}` was called "
                f"with `reduce_fx={other.reduce!r}` and `reduce_fx={part.reduce!r}`, or with a "
                "number and a metric object, on different ranks; use the same on all."
            )


def reduced(part: Part, totals: Tensor, weights: Tensor) -> Tensor | None:
    """One value of those of all ranks; None where no rank has any."""
    totals, weights = totals[weights > 0], weights[weights > 0]
    if not len(totals):
        return None
    if part.reduce == "mean":
        return totals.sum() / weights.sum()
    reductions: dict[str, Callable[[Tensor], Tensor]] = {
        "sum": torch.sum,
        "min": torch.min,
        "max": torch.max,
    }
    return reductions[part.reduce](totals)


def members_of(group: Any) -> tuple[int, ...] | None:
    """The ranks of a group; None for all."""
    if group is None or group is dist.group.WORLD:
        return None
    return tuple(dist.get_process_group_ranks(group))
