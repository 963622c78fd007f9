"""The index stream of a loader: counted, capped, and able to start anywhere."""

import copy
from collections import deque
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from pytorch_lightning.data.generators import (
    GlobalGenerators,
    as_plain,
    is_generator,
    restore_generator,
    state_of,
)
from pytorch_lightning.data.rounds import Dealt, Share
from pytorch_lightning.utilities.seed import restore_rng


def samplers_of(loader: Any) -> list[Any]:
    """The samplers of a loader, outer ones first, each once."""
    found: list[Any] = []
    waiting = [getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)]
    while waiting:
        part = waiting.pop(0)
        if part is None or any(part is known for known in found):
            continue
        found.append(part)
        attributes = getattr(part, "__dict__", {})
        waiting += [v for k, v in attributes.items() if k == "sampler" or isinstance(v, Sampler)]
    return found


def set_epoch(loader: Any, epoch: int) -> None:
    """Tell the epoch to every sampler and to the data set, where they want to know it."""
    for part in [*samplers_of(loader), getattr(loader, "dataset", None)]:
        tell = getattr(part, "set_epoch", None)
        if callable(tell):
            tell(epoch)


# Samplers of torch that never draw from the shared generators between two batches.
_DRAW_ONCE = (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)


class OrderState:
    """What the order of a loader depends on: generators and samplers with a state."""

    def __init__(self, loader: Any, shared: GlobalGenerators) -> None:
        samplers = samplers_of(loader)
        self.is_known = all(type(sampler) in _DRAW_ONCE for sampler in samplers)
        self._stateful = [s for s in samplers if has_state(s)]
        self._generators: list[Any] = []
        self._shared = shared
        own = getattr(loader, "generator", None)
        values = [v for s in samplers for v in getattr(s, "__dict__", {}).values()]
        for value in [own, *values]:
            if is_generator(value) and not any(value is g for g in self._generators):
                self._generators.append(value)

    def capture(self, *, shared: bool = True) -> dict[str, Any]:
        """The state; `plain` makes data of it.

        Args:
            shared: With the generators that the whole process shares.
        """
        state: dict[str, Any] = {
            "generators": [state_of(g) for g in self._generators],
            "samplers": [copy.deepcopy(s.state_dict()) for s in self._stateful],
        }
        if shared:
            state["shared"] = self._shared.take()
        return state

    @staticmethod
    def plain(state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Plain data of what `capture` took."""
        if state is None:
            return None
        return {name: as_plain(value) for name, value in state.items()}

    def restore(self, state: dict[str, Any], *, samplers: bool = True) -> None:
        """Put back what `capture` took, as far as the loader still has it."""
        for generator, value in zip(self._generators, state["generators"], strict=False):
            restore_generator(generator, value)
        if samplers:
            for sampler, value in zip(self._stateful, state["samplers"], strict=False):
                sampler.load_state_dict(copy.deepcopy(value))
        if "shared" in state:
            restore_rng(as_plain(state["shared"]))


def has_state(part: Any) -> bool:
    """Whether an object can say where it is and be put there."""
    return callable(getattr(part, "state_dict", None)) and callable(
        getattr(part, "load_state_dict", None)
    )


class IndexStream:
    """Stands in for the (batch) sampler of a loader and knows how far it was read.

    Torch calls `iter` on it exactly when it would on the user's sampler, so that both draw from
    the random generators at the same moments.
    """

    def __init__(self, loader: DataLoader[Any], limit: float, generators: GlobalGenerators) -> None:
        automatic = loader.batch_sampler is not None
        self.sampler: Any = loader.batch_sampler if automatic else loader.sampler
        self.limit = limit
        self.drawn = 0
        self.exhausted = False
        self.waiting: deque[Any] = deque()
        self.at_iter: dict[str, Any] | None = None
        self.at_first: dict[str, Any] | None = None
        self.dealt: Dealt | None = self.sampler if isinstance(self.sampler, Dealt) else None
        self._order = OrderState(loader, generators)
        self._indices: Iterator[Any] | None = None
        self._placed = False

    def __iter__(self) -> Iterator[Any]:
        if self._placed:  # after `seek`: torch may ask twice, the place is kept
            return self
        self.dealt = self.sampler if isinstance(self.sampler, Dealt) else None
        if self.dealt is not None:
            self.dealt.begin()
        self.at_iter, self.at_first = self._capture(), None
        self.drawn, self.exhausted = 0, False
        self.waiting.clear()
        dealt = self.dealt
        self._indices = iter(self.sampler) if dealt is None else dealt.deal(dealt.open())
        return self

    def _capture(self) -> dict[str, Any]:
        """What the order depends on now."""
        if self.dealt is None:
            return self._order.capture()
        return {**self._order.capture(shared=False), "shared": self.dealt.generators.state}

    def __next__(self) -> Any:
        if self.drawn >= self.limit:
            self.exhausted = True
            raise StopIteration
        assert self._indices is not None
        if self.at_first is None:
            self.at_first = self._capture()
        try:
            index = next(self._indices)
        except StopIteration:
            self.exhausted = True
            raise
        self.drawn += 1
        self.waiting.append(index)
        return index

    def peek(self) -> Any:
        """The first index of the pass before it is asked for, where that changes nothing."""
        assert self._indices is not None
        if self.dealt is None:
            return self._peek_alone()
        if self.at_first is None:
            self.at_first = self._capture()
        for index in self._indices:
            self._indices = chain([index], self._indices)
            return index
        return None

    def _peek_alone(self) -> Any:
        """What torch's samplers would give, with every generator as it was afterwards."""
        if not self._order.is_known or self.drawn:
            return None
        before = self._order.capture()
        try:
            return next(iter(self.sampler), None)
        finally:
            self._order.restore(before)

    def __len__(self) -> int:
        return len(self.sampler)

    @property
    def is_over(self) -> bool:
        """Whether the order has ended and everything drawn was delivered."""
        return self.exhausted and not self.waiting

    def place(self) -> None:
        """Begin a pass now; torch's `iter`, once or twice, then finds it as it is."""
        iter(self)
        self._placed = True

    def finish(self) -> None:
        """Stand at the end of the pass; the next one starts at the beginning."""
        self.exhausted, self._placed = True, False

    def release(self) -> None:
        """Follow `iter` again: the next pass starts at the beginning."""
        self._placed = False

    def position(self, handed_back: list[Any]) -> dict[str, Any]:
        """What it takes to draw this pass again, as plain data.

        Args:
            handed_back: Indices of batches that were delivered but are to come again.
        """
        ahead: list[Any] = []
        if self.dealt is None and not self._order.is_known:
            drawn = [*handed_back, *self.waiting]
            # a sampler of the user may have mixed its draws with those of the model
            ahead = drawn if _are_plain(drawn) else []
        return {
            "ahead": ahead,
            "at_iter": OrderState.plain(self.at_iter),
            "at_first": OrderState.plain(self.at_first),
            "now": self._order.capture(shared=False),
            "pace": self._pace(),
        }

    def _pace(self) -> dict[str, Any]:
        """How much of the order all ranks use with each batch, for any number of them to go on."""
        if self.dealt is not None:
            return self.dealt.pace()
        size = self.sampler.batch_size if type(self.sampler) is BatchSampler else None
        return Dealt(self.sampler, Share(0, 1, size)).pace()

    def seek(self, position: dict[str, Any], batches: int, *, finished: bool) -> None:
        """Stand before batch number `batches` of a pass; the caller isolates shared generators."""
        self.at_iter, self.at_first = position["at_iter"], position["at_first"]
        self.waiting.clear()
        self.drawn, self.exhausted, self._placed = batches, False, True
        self.dealt = self._deal_rest(position.get("pace"), batches)
        if self.dealt is not None:
            self._seek_dealt(self.dealt, position)
        else:
            self._seek_alone(position, batches)
        if finished and batches < self.limit:
            assert self._indices is not None
            deque(self._indices, maxlen=0)  # what a sampler does after its last index

    def _deal_rest(self, pace: dict[str, Any] | None, batches: int) -> Dealt | None:
        """What deals the rest of a pass that was saved by another number of ranks, or by as many.

        None where this process is alone, and was.
        """
        size = self.sampler.batch_size if type(self.sampler) is BatchSampler else None
        if pace is None:  # of a file that knows of no ranks
            pace = Dealt(self.sampler, Share(0, 1, size)).pace()
        units = pace["start"] + max(batches - pace["before"], 0) * pace["per_round"]
        dealt = self.sampler if isinstance(self.sampler, Dealt) else None
        if dealt is None:
            if pace["world"] == 1 and units == batches * (size or 1):
                return None
            if size is not None and pace["batch_size"] is not None:
                dealt = Dealt(self.sampler.sampler, Share(0, 1, size, self.sampler.drop_last))
            else:
                dealt = Dealt(self.sampler, Share(0, 1))
        if pace["batch_size"] and not dealt.share.batch_size:
            units //= pace["batch_size"]
        elif dealt.share.batch_size and not pace["batch_size"]:
            units *= dealt.share.batch_size
        dealt.turn, dealt.is_drawn = pace["turn"], self.at_first is not None
        dealt.place(units, before=batches)
        return dealt

    def _seek_dealt(self, dealt: Dealt, position: dict[str, Any]) -> None:
        own = {**position["at_iter"]}
        dealt.generators.state = own.pop("shared")
        self._order.restore(own)
        drawn = dealt.open()
        if self.at_first is None:
            self._order.restore(position["now"], samplers=False)
            self._indices = dealt.deal(drawn)
            return
        first = {**self.at_first}
        dealt.generators.state = first.pop("shared")
        self._order.restore(first, samplers=False)
        known = list(position["ahead"])
        if dealt.share.batch_size is not None:
            known = [index for batch in known for index in batch]
        self._indices = dealt.deal(drawn, known=known)

    def _seek_alone(self, position: dict[str, Any], batches: int) -> None:
        self._order.restore(position["at_iter"])
        if self.at_first is None:
            self._indices = iter(self.sampler)
            self._order.restore(position["now"], samplers=False)
            return
        ahead = list(position["ahead"])
        self._indices = chain(ahead, self._skipped(batches + len(ahead)))

    def _skipped(self, batches: int) -> Iterator[Any]:
        assert self.at_first is not None
        if type(self.sampler) is not BatchSampler:
            indices: Iterator[Any] = iter(self.sampler)
            self._order.restore(self.at_first, samplers=False)
            _skip(indices, batches)
            return indices
        # the torch class starts its sampler with the first batch; its lists need not be built
        self._order.restore(self.at_first, samplers=False)
        size = self.sampler.batch_size
        single = iter(self.sampler.sampler)
        _skip(single, batches * size)
        rest: Iterator[Any] = iter(BatchSampler(single, size, self.sampler.drop_last))
        return rest


def _are_plain(indices: Any) -> bool:
    """Whether indices, or lists of them, can be written into a checkpoint as they are."""
    if isinstance(indices, list):
        return all(_are_plain(index) for index in indices)
    return type(indices) in (int, str)


def _skip(iterator: Iterator[Any], count: int) -> None:
    deque(islice(iterator, count), maxlen=0)
