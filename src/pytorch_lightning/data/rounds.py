"""One order of samples for all ranks, dealt in rounds: what each rank gets of each."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice
from typing import Any, NamedTuple

from torch.utils.data import (
    BatchSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from pytorch_lightning.data.generators import OwnGenerators
from pytorch_lightning.data.workers import mixed_seed
from pytorch_lightning.utilities.environ import read_int
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.warnings import PossibleUserWarning


class Share(NamedTuple):
    """The part of one rank.

    An order is cut into rounds, one batch for each rank. Its units are samples, of which each rank
    takes every so-manieth, or whole batches.

    Args:
        batch_size: Of the batches that are made of samples; None deals batches as they are.
        drop_last: Leave out a last round of samples that is not whole.
        pads: All ranks get the same number of batches: the first units of the order fill up the
            last round.
    """

    rank: int
    world: int
    batch_size: int | None = None
    drop_last: bool = False
    pads: bool = True

    @property
    def per_round(self) -> int:
        """How many units all ranks use for one batch each."""
        return self.world * (self.batch_size or 1)

    def length(self, units: float) -> float:
        """How many batches this rank gets of so many units."""
        if self.batch_size is None and not self.pads:
            units = max(units - self.rank, 0)
        return self.rounds(units)

    def rounds(self, units: float) -> float:
        """The same of the rank that gets the most."""
        if units == math.inf:
            return units
        return units // self.per_round if self.drop_last else math.ceil(units / self.per_round)

    def mine(self, units: Sequence[Any], start: int) -> Any:
        """This rank's batch of the whole round that begins at `start`."""
        if self.batch_size is None:
            return units[start + self.rank]
        return list(units[start + self.rank : start + self.per_round : self.world])


class _Cut(Sequence[Any]):
    """Samples in batches; a batch is made when it is asked for."""

    def __init__(self, samples: Sequence[Any], size: int, *, drop_last: bool) -> None:
        self._samples, self._size = samples, size
        whole, rest = divmod(len(samples), size)
        self._count = whole + (rest > 0 and not drop_last)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return list(self._samples[place * self._size : (place + 1) * self._size])


class Dealt:
    """Stands in a loader for its (batch) sampler, and yields what one rank gets of its order.

    The order is drawn with random states of its own, the same on all ranks: they follow from the
    seed, the epoch, and how often the loader was begun in it. The shared generators are put back
    each time.

    Attributes:
        seed: That the ranks agreed on; None for the global seed of this process.
        sampler: Of the user.
        short_at: Once the last round is drawn: the number of the batch in it, if ranks go without.
        first_round: What the first round of the pass is made of, once it is drawn.
        is_drawn: Whether anything of the pass is.
        was_asked: Whether anybody ever began a pass.
    """

    def __init__(self, sampler: Any, share: Share) -> None:
        self.sampler = sampler
        self.share = share
        self.seed: int | None = None
        self.epoch = self.turn = 0
        self.is_drawn = False
        self.start = self.before = 0  # units and batches that went before this dealing
        self.short_at: int | None = None
        self.first_round: list[Any] | None = None
        self.was_asked = False
        self.generators = OwnGenerators()

    def set_epoch(self, epoch: int) -> None:
        """The next pass is the first one of this epoch."""
        self.epoch, self.turn, self.is_drawn = epoch, 0, False

    def begin(self) -> None:
        """Start a pass: its order is due. Torch may begin one twice before it draws anything."""
        self.turn += self.is_drawn
        self.is_drawn = False
        seed = read_int("PL_GLOBAL_SEED") or 0 if self.seed is None else self.seed
        self.generators.seed(mixed_seed(seed, self.epoch, self.turn))
        self.place(0, before=0)

    def place(self, start: int, *, before: int) -> None:
        """Deal anew what is left of a pass.

        Args:
            start: The units that all ranks have used.
            before: The batches that this rank has had.
        """
        self.start, self.before = start, before
        self.short_at = self.first_round = None
        self.was_asked = True

    def __iter__(self) -> Iterator[Any]:
        self.begin()
        return self.deal(self.open())

    def open(self) -> Iterator[Any]:
        """Ask the user's sampler for its order; most draw nothing yet."""
        with self.generators:
            return iter(self.sampler)

    def __len__(self) -> int:
        return int(self.share.length(len(self.sampler)))

    def units(self) -> float:
        """How many units an order has; infinity where the sampler does not know."""
        try:
            return float(len(self.sampler))
        except (TypeError, NotImplementedError):
            return math.inf

    def length(self) -> float:
        """The batches of this rank in the running pass, from the epoch's start."""
        return self.before + self.share.length(max(self.units() - self.start, 0))

    def ends(self) -> tuple[float, float]:
        """After how many batches the first and the last rank are through with the running pass."""
        left = max(self.units() - self.start, 0)
        last = self.share._replace(rank=self.share.world - 1)
        return self.before + last.length(left), self.before + self.share.rounds(left)

    def limited(self, limit: float) -> float:
        """What a limit of batches per rank becomes in a pass that others began."""
        if limit == math.inf:
            return limit
        size = self.share.per_round
        return self.before + math.ceil(max(limit * size - self.start, 0) / size)

    def pace(self) -> dict[str, Any]:
        """What tells how much of the order is used after some batches, as plain data."""
        return {
            "world": self.share.world,
            "batch_size": self.share.batch_size,
            "per_round": self.share.per_round,
            "start": self.start,
            "before": self.before,
            "turn": self.turn,
        }

    def deal(self, drawn: Iterator[Any], *, known: Sequence[Any] = ()) -> Iterator[Any]:
        """The batches of this rank, from where the pass was placed.

        Args:
            drawn: The order from its start.
            known: Units at that place that were drawn before and are not drawn alike again.
        """
        self.is_drawn = True
        order = self._whole(drawn)
        rounds = self._lazily(drawn, known) if order is None else self._of_sequence(order)
        yield from rounds

    def _whole(self, drawn: Iterator[Any]) -> Sequence[Any] | None:
        """The whole order, of samplers that make it at once in any case."""
        sampler = self.sampler
        if type(sampler) is BatchSampler and _draws_at_once(sampler.sampler):
            with self.generators:
                samples = _samples(sampler.sampler, iter(sampler.sampler))
            return _Cut(samples, sampler.batch_size, drop_last=sampler.drop_last)
        if not _draws_at_once(sampler):
            return None
        with self.generators:
            return _samples(sampler, drawn)

    def _of_sequence(self, order: Sequence[Any]) -> Iterator[Any]:
        share, size = self.share, self.share.per_round
        self.first_round = list(order[self.start : self.start + size])
        whole = self.start + (len(order) - self.start) // size * size
        for start in range(self.start, whole, size):
            yield share.mine(order, start)
        if whole < len(order):
            number = self.before + (whole - self.start) // size
            yield from self._short(list(order[whole:]), list(order[: share.world]), number)

    def _lazily(self, drawn: Iterator[Any], known: Sequence[Any]) -> Iterator[Any]:
        """Round by round, for samplers of the user: they may not be finished, or change."""
        share, size, number = self.share, self.share.per_round, self.before
        with self.generators:
            first = list(islice(drawn, min(share.world, self.start)))
            for _ in islice(drawn, self.start - len(first) + len(known)):
                pass
        drawn = chain(known, drawn)
        while True:
            with self.generators:
                units = list(islice(drawn, size))
            if self.first_round is None:
                self.first_round = units
            first += units[: share.world - len(first)]
            if len(units) < size:
                break
            yield share.mine(units, 0)
            number += 1
        if units:
            yield from self._short(units, first, number)

    def _short(self, rest: list[Any], first: list[Any], number: int) -> Iterator[Any]:
        """This rank's batch of a last round that is not whole, if it gets one."""
        share = self.share
        missing = -len(rest) % share.world
        if share.batch_size is not None:
            if not share.drop_last:
                rest += islice(cycle(first), missing)
                yield rest[share.rank :: share.world]
        elif share.pads:
            _say_padded(self.sampler, share.world)
            rest += islice(cycle(first), missing)
            yield rest[share.rank]
        else:
            self.short_at = number
            if share.rank < len(rest):
                yield rest[share.rank]


_AT_ONCE = (SequentialSampler, SubsetRandomSampler, WeightedRandomSampler, list, range)


def _draws_at_once(sampler: Any) -> bool:
    if type(sampler) is RandomSampler:
        return not sampler.replacement
    return type(sampler) in _AT_ONCE


def _samples(sampler: Any, drawn: Iterator[Any]) -> Sequence[Any]:
    return range(len(sampler)) if type(sampler) is SequentialSampler else list(drawn)


def _say_padded(sampler: Any, world: int) -> None:
    warnings_given.warn(
        f"The batches of `{type(sampler).__name__}` cannot be divided by {world} ranks: the first "
        "ones of an epoch are trained on again at its end, so that all ranks take the same number "
        "of steps.",
        category=PossibleUserWarning,
    )


def dealt_of(loader: Any) -> Dealt | None:
    """What deals the batches of a loader, if anything does."""
    for part in (getattr(loader, "batch_sampler", None), getattr(loader, "sampler", None)):
        if isinstance(part, Dealt):
            return part
    return None
