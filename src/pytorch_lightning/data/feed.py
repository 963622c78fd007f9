"""Several sources as one stream of batches that knows its place."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils._pytree import tree_unflatten

from pytorch_lightning.data.combined import CombinedLoader, flatten, is_collection
from pytorch_lightning.data.dealing import ALONE, Ranks
from pytorch_lightning.data.position import Source, length_of
from pytorch_lightning.utilities.exceptions import CheckpointError, DataError


def open_source(
    loaders: Any,
    *,
    mode: str = "max_size_cycle",
    limit: float = math.inf,
    ranks: Ranks = ALONE,
    training: bool = True,
) -> "Source | Feed":
    """Open one loader as a `Source`, a collection of loaders as a `Feed`; deal it to the ranks.

    Args:
        training: All ranks get as many batches.
    """
    if isinstance(loaders, CombinedLoader) or is_collection(loaders):
        return Feed(loaders, mode=mode, limit=limit, ranks=ranks, training=training)
    dealt = ranks.deal(loaders, training=training)
    return Source(dealt, limit=limit, rank=ranks.rank, world=ranks.world)


class Feed:
    """Several loaders read together; has the members of a `Source`.

    Args:
        loaders: A collection of loaders, or a `CombinedLoader`, which brings its own mode.
        mode: `min_size`, `max_size_cycle` or `max_size`.
        limit: At most so many batches per pass.
        ranks: Who reads which part.
        training: All ranks get as many batches.
    """

    def __init__(
        self,
        loaders: Any,
        *,
        mode: str = "max_size_cycle",
        limit: float = math.inf,
        ranks: Ranks = ALONE,
        training: bool = True,
    ) -> None:
        self.loader = loaders
        self.limit = limit
        if isinstance(loaders, CombinedLoader):
            mode = loaders.mode
            parts, self._structure = flatten(loaders.iterables, known_collection=True)
        else:
            parts, self._structure = flatten(loaders)
        if mode not in _TAKE:
            raise ValueError(f"`mode={mode!r}` does not join batches: pass one of {list(_TAKE)}.")
        self.mode = mode
        self.world = ranks.world
        # loaders that go round repeat samples in any case: what a rank has of them is never nothing
        longest = max(map(length_of, parts), default=0) if mode == "max_size_cycle" else 0
        self.sources = [
            Source(
                ranks.deal(part, training=training or length_of(part) < longest),
                rank=ranks.rank,
                world=ranks.world,
            )
            for part in parts
        ]
        self._start = self._before = 0  # batches of all ranks, and of this one, before a resume
        self.batches = 0
        self.is_last = False
        self.ended_early = False
        self._epoch: int | None = None
        self._begun = self._finished = False
        self._stop: float = 0
        self._done = [False] * len(self.sources)  # went through all its data at least once
        self._gave = [False] * len(self.sources)  # has a part in the last batch
        self._turned: dict[int, tuple[int, Any]] = {}  # where a source was when it went round
        self._take = _TAKE[mode]

    def length(self) -> float:
        """The batches of a pass, as announced and capped; infinity if unknown."""
        return self._joined([s.length() for s in self.sources], self._pass_limit())

    def rounds(self) -> float:
        """The batches of the rank that gets the most of a whole pass."""
        return self._joined([s.rounds() for s in self.sources], self.limit)

    def _joined(self, lengths: list[float], limit: float) -> float:
        lengths = [min(length, self._limit_of(i)) for i, length in enumerate(lengths)]
        shortest = self.mode == "min_size" or 0 in lengths and self.mode == "max_size_cycle"
        joined = min(lengths, default=0) if shortest else max(lengths, default=0)
        return min(joined, limit)

    def _pass_limit(self) -> float:
        """The limit of the running pass, which another number of ranks may have begun."""
        if self._start == self._before * self.world or self.limit == math.inf:
            return self.limit
        left = max(self.limit * self.world - self._start, 0)
        return self._before + math.ceil(left / self.world)

    @property
    def is_resized(self) -> bool:
        """Whether the running pass was begun by another number of ranks."""
        return any(source.is_resized for source in self.sources)

    @property
    def may_be_ragged(self) -> bool:
        """Whether a last batch may have none beside it on other ranks."""
        return any(source.may_be_ragged for source in self.sources)

    def is_ragged(self, batch: int) -> bool:
        """Whether other ranks have no batch of this number."""
        first, last = zip(*(source.ends() for source in self.sources), strict=True)
        if math.inf in last:
            return any(source.is_ragged(batch) for source in self.sources)
        limit = self._pass_limit()
        return self._joined(list(first), limit) <= batch < self._joined(list(last), limit)

    def _limit_of(self, index: int) -> float:
        return self.loader.limit_of(index) if isinstance(self.loader, CombinedLoader) else math.inf

    def begin(self, epoch: int | None = None) -> None:
        """Start a new pass of every source and tell them its epoch."""
        self._epoch = epoch
        self._start = self._before = 0
        self._place(0)
        for source in self.sources:
            source.begin(epoch)
        self._begun = True

    def _place(self, batches: int) -> None:
        self.batches = batches
        self.is_last = self.ended_early = self._finished = False
        limit = self._pass_limit()
        self._stop = limit if self.sources else 0
        self._done = [False] * len(self.sources)
        self._gave = [False] * len(self.sources)
        self._turned.clear()
        for index, source in enumerate(self.sources):
            source.limit = min(self._limit_of(index), self.limit)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self.batches >= self._stop:
            self._finished = True
            raise StopIteration
        try:
            parts = [self._take(self, index) for index in range(len(self.sources))]
            if not any(self._gave):
                raise StopIteration
        except StopIteration:
            self._stop = self.batches
            self._finished = True
            self.ended_early = self.batches < self.length() < math.inf
            raise
        self.batches += 1
        over = [d or s.is_last for d, s in zip(self._done, self.sources, strict=True)]
        ends = any(over) if self.mode == "min_size" else all(over)
        self.is_last = ends or self.batches == self._stop
        if ends:
            self._stop = self.batches
        return tree_unflatten(parts, self._structure)

    def _next_of(self, index: int) -> Any:
        self._gave[index] = True
        return next(self.sources[index])

    def _next_or_none(self, index: int) -> Any:
        if self._done[index]:
            self._gave[index] = False
            return None
        try:
            return self._next_of(index)
        except StopIteration:
            self._done[index], self._gave[index] = True, False
            return None

    def _next_in_cycle(self, index: int) -> Any:
        source = self.sources[index]
        try:
            return self._next_of(index)
        except StopIteration:
            self._done[index] = True
            if all(self._done):
                raise
        gave_before = source.batches > 0
        self._turned[index] = (self.batches, source.position())
        source.limit = min(self._limit_of(index), self.limit - self.batches)
        source.begin()
        try:
            return next(source)
        except StopIteration as error:
            if not gave_before:  # empty: there is nothing to go round in
                raise
            raise DataError(
                f"Loader {index}, `{type(source.loader).__name__}`, is shorter than the others and "
                "gave nothing when it was started again. Pass an object whose `iter()` starts "
                "afresh, or use the mode 'min_size'."
            ) from error

    @property
    def num_samples(self) -> int | None:
        """The samples in the last batch of the first source."""
        return self.sources[0].num_samples if self._gave and self._gave[0] else None

    @property
    def sample_ids(self) -> list[Any] | None:
        """The indices of the samples in the last batch of the first source."""
        return self.sources[0].sample_ids if self._gave and self._gave[0] else None

    def position(self, *, repeat_last: bool = False) -> dict[str, Any]:
        """Where the pass is, as plain data.

        Args:
            repeat_last: As if the last batch had not been handed out.
        """
        repeat_last = repeat_last and self.batches > 0
        over = (self.is_last or self._finished) and not repeat_last
        return {
            "begun": self._begun,
            "batches": self.batches - repeat_last,
            "epoch": self._epoch,
            "finished": self._finished and not repeat_last,
            "at_end": self.is_last and not repeat_last,
            "kind": "feed",
            "world": self.world,
            "used": self._start + (self.batches - repeat_last - self._before) * self.world,
            "done": list(self._done),
            "sources": [
                self._position_of(index, repeat_last=repeat_last, leave=over)
                for index in range(len(self.sources))
            ],
        }

    def _position_of(self, index: int, *, repeat_last: bool, leave: bool) -> dict[str, Any]:
        """Where a source is; one that went round for the last batch will go round again."""
        if repeat_last and index in self._turned:
            before, position = self._turned[index]
            if before == self.batches - 1:
                return dict(position)
        return self.sources[index].position(
            repeat_last=repeat_last and self._gave[index], leave=leave
        )

    def seek(self, position: dict[str, Any]) -> None:
        """Take a pass up at a position; reads no sample and leaves the generators as found."""
        saved = position.get("sources", [position])
        if len(saved) != len(self.sources):
            raise CheckpointError(
                f"The run was saved with {len(saved)} training loaders and has "
                f"{len(self.sources)} now: pass the same collection."
            )
        self._epoch = position["epoch"]
        self._begun = bool(position["begun"])
        self._before = int(position["batches"])
        self._start = position.get("used", self._before * position.get("world", 1))
        self._place(self._before)
        for source, place in zip(self.sources, saved, strict=True):
            source.seek(place)
        self._done = [bool(done) for done in position.get("done", self._done)]
        self.is_last, self._finished = bool(position["at_end"]), bool(position["finished"])
        if self.is_last or self._finished:
            self._stop = self.batches

    def close(self) -> None:
        """End the workers; the next `begin()` starts new ones."""
        for source in self.sources:
            source.close()


_TAKE: dict[str, Callable[[Feed, int], Any]] = {
    "min_size": Feed._next_of,
    "max_size_cycle": Feed._next_in_cycle,
    "max_size": Feed._next_or_none,
}
