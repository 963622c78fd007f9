"""One loader with a position: where a pass is, and how to take it up again."""

import math
from collections.abc import Callable, Iterator
from typing import Any

from pytorch_lightning.data.generators import GlobalGenerators, as_plain
from pytorch_lightning.data.indices import set_epoch
from pytorch_lightning.data.readers import Reader, open_reader
from pytorch_lightning.data.rounds import dealt_of
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.seed import isolate_rng, restore_rng
from pytorch_lightning.utilities.warnings import PossibleUserWarning


def length_of(loader: Any) -> float:
    """The number of batches a loader announces; infinity where it does not know."""
    try:
        return float(len(loader))
    except (TypeError, NotImplementedError):
        return math.inf
    except OverflowError:  # some streams answer infinity
        return math.inf


class Source:
    """A loader of the user, read pass by pass, that knows its place.

    Batches, their order and the use of the random generators are those of a plain `for` over the
    loader. Loaders without a length are read one batch ahead, so that `is_last` is right.

    Args:
        loader: Batches in a list, a `DataLoader`, or anything that can be iterated over.
        limit: At most so many batches per pass.
        rank: Of this process; tells the seeds of workers apart.
        world: The number of processes.
    """

    def __init__(
        self, loader: Any, *, limit: float = math.inf, rank: int = 0, world: int = 1
    ) -> None:
        self.loader = loader
        self.limit = limit
        self.rank = rank
        self.world = world
        self.dealt = dealt_of(loader)
        self.batches = 0
        self.is_last = False
        self.ended_early = False
        self._reader: Reader | None = None
        self._fetch: Callable[[], Any] = self._not_begun
        self._epoch: int | None = None
        self._begun = self._finished = False
        self._expected = self._stop = math.inf
        self._resized: tuple[float, float] | None = None  # length and limit of a pass taken up
        self._looks_ahead = False
        self._ahead: list[Any] = []
        self._failure: BaseException | None = None
        self._generators = GlobalGenerators()
        self._rng_before: dict[int, Any] = {}  # of batches that were read ahead

    def length(self) -> float:
        """The batches of a pass, as announced and capped; infinity if unknown."""
        return min(self._resized or (length_of(self.loader), self.limit))

    def rounds(self) -> float:
        """The batches of the rank that gets the most of a whole pass."""
        dealt = self.dealt
        length = length_of(self.loader) if dealt is None else dealt.share.rounds(dealt.units())
        return min(length, self.limit)

    @property
    def is_resized(self) -> bool:
        """Whether the running pass was begun by another number of ranks."""
        return self._resized is not None

    def is_ragged(self, batch: int) -> bool:
        """Whether other ranks have no batch of this number."""
        return self.dealt is not None and self.dealt.short_at == batch

    def ends(self) -> tuple[float, float]:
        """After how many batches the first and the last rank are through with the pass."""
        return self.dealt.ends() if self.dealt is not None else (self.length(), self.length())

    @property
    def may_be_ragged(self) -> bool:
        """Whether a last batch may have none beside it on other ranks."""
        return self.dealt is not None and not self.dealt.share.pads

    def begin(self, epoch: int | None = None) -> None:
        """Start a new pass and tell its epoch to whatever wants to know it."""
        self._epoch = epoch
        if epoch is not None:
            set_epoch(self.loader, epoch)
        self._resized = None
        self._measure(0)
        if self._reader is None:
            self._reader = open_reader(self.loader, self.rank)
        self._fetch = self._reader.begin(self._stop)
        self._begun = True

    def _measure(self, batches: int) -> None:
        announced, limit = self._resized or (length_of(self.loader), self.limit)
        self.batches = batches
        self.is_last = self.ended_early = self._finished = False
        self._expected = min(announced, limit)
        # a limit that cuts nothing must not keep the loader from noticing its end
        self._stop = limit if limit < announced or announced == math.inf else math.inf
        self._looks_ahead = announced == math.inf
        self._ahead.clear()
        self._failure = None
        self._rng_before.clear()

    def _not_begun(self) -> Any:
        raise RuntimeError("This source has no pass yet: call `begin()` or `seek()` first.")

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        handed_out = self.batches
        if handed_out >= self._stop:
            self._finished = True
            raise StopIteration
        try:
            batch = self._read_ahead() if self._looks_ahead else self._fetch()
        except StopIteration:
            self._stop = handed_out
            self._finished = True
            self.ended_early = not self._looks_ahead and handed_out < self._expected
            raise
        self.batches = handed_out = handed_out + 1
        self.is_last = handed_out == self._expected
        return batch

    def _read_ahead(self) -> Any:
        """The next batch, with the one after it waiting."""
        if self._failure is not None:
            raise self._failure
        number = self.batches
        batch = self._ahead.pop() if self._ahead else self._fetch_as_before(number)
        if number + 1 >= self._stop:
            return batch
        assert self._reader is not None
        if self._reader.draws_here:
            self._rng_before[number + 1] = self._generators.take()
            self._rng_before.pop(number - 1, None)
        try:
            self._ahead.append(self._fetch())
        except StopIteration:
            self._stop = self._expected = number + 1
            self._rng_before.pop(number + 1, None)
        except Exception as error:  # the next batch's own: raised when that is asked for
            self._failure = error
        return batch

    def _fetch_as_before(self, number: int) -> Any:
        """Fetch; after a seek with the generators as they were when it was first read ahead."""
        before = self._rng_before.get(number)
        if before is None:
            return self._fetch()
        with isolate_rng(include_cuda=False):
            restore_rng(as_plain(before))
            return self._fetch()

    @property
    def num_samples(self) -> int | None:
        """The samples collated into the last batch, where a loader we understand did it."""
        return None if self._reader is None else self._reader.num_samples(self.batches)

    @property
    def sample_ids(self) -> list[Any] | None:
        """The indices of the samples in the last batch, where they are known at no cost."""
        return None if self._reader is None else self._reader.sample_ids(self.batches)

    def position(self, *, repeat_last: bool = False, leave: bool = False) -> dict[str, Any]:
        """Where the pass is, as plain data.

        Args:
            repeat_last: As if the last batch had not been handed out.
            leave: As if a batch that was read ahead had been handed out: nobody will ask for it.
        """
        repeat_last = repeat_last and self.batches > 0
        batches = self.batches - repeat_last + (len(self._ahead) if leave else 0)
        position: dict[str, Any] = {
            "begun": self._begun,
            "batches": batches,
            "epoch": self._epoch,
            "finished": self._finished and not repeat_last,
            "at_end": self.is_last and not repeat_last,
            "world": self.world,
        }
        if self._reader is not None and self._begun:
            position["kind"] = self._reader.kind
            position["reader"] = self._reader.position(batches)
        if batches in self._rng_before:
            position["read_with"] = as_plain(self._rng_before[batches])
        return position

    def seek(self, position: dict[str, Any]) -> None:
        """Take a pass up at a position; reads no sample and leaves the generators as found."""
        batches, self._epoch = int(position["batches"]), position["epoch"]
        self._begun = bool(position["begun"])
        self.close()
        self._resized = None
        self._measure(batches)
        self._reader = reader = open_reader(self.loader, self.rank)
        if not self._begun:
            self._fetch = self._begin_late
            return
        if self._epoch is not None:
            set_epoch(self.loader, self._epoch)
        finished, at_end = bool(position["finished"]), bool(position["at_end"])
        if reader.restarts_passes and batches and not finished and not at_end:
            warnings_given.warn(
                f"`in_order=False`: which batches of the pass were used is unknown, so the pass "
                f"in which the run was saved (after {batches} batches) starts again."
            )
            batches = 0
            self._measure(0)
        state = {**position.get("reader", {}), "at_end": at_end}
        with isolate_rng(include_cuda=False):
            fetch = (
                reader.seek(state, batches, finished=finished, limit=self._stop)
                if position["kind"] == reader.kind and self._can_follow(position)
                else None
            )
            if fetch is None:
                self._start_over(reader, batches)
                return
        self._fetch = fetch
        self._resized = None if finished or at_end else reader.pass_length(self.limit)
        if self._resized is not None:
            self._measure(batches)
            at_end = batches >= self._expected
        self.is_last, self._finished = at_end, finished
        if finished or (at_end and self._looks_ahead):
            self._stop = batches
        if "read_with" in position:
            self._rng_before[batches] = position["read_with"]

    def _can_follow(self, position: dict[str, Any]) -> bool:
        """Whether what this many ranks have read tells what so many others had."""
        before = position.get("world", 1)
        if before == self.world:
            return True
        order = position["reader"].get("order", {}) if position["kind"] == "loader" else {}
        was_dealt = order.get("pace", {}).get("world") == before
        return was_dealt and (self.dealt is not None or self.world == 1)

    def read_first(self) -> Any:
        """Read the first batch of a loader without a length before it is asked for.

        None where a loader has a length, or no batch.
        """
        if not self._looks_ahead or self.batches or self._ahead or self._stop < 1:
            return None
        assert self._reader is not None
        if self._reader.draws_here:
            self._rng_before[0] = self._generators.take()
        try:
            self._ahead.append(self._fetch())
        except StopIteration:
            self._stop = self._expected = 0
            return None
        except Exception as error:  # raised when the batch is asked for
            self._failure = error
            return None
        return self._ahead[0]

    def peek(self) -> Any:
        """The indices of the first batch of a pass that was just begun, if known beforehand."""
        return None if self._reader is None else self._reader.peek()

    def _begin_late(self) -> Any:
        self.begin(self._epoch)
        return self._fetch()

    def _start_over(self, reader: Reader, batches: int) -> None:
        if batches > 0:
            self._say_unknown(reader, batches)
        self._measure(0)
        self._fetch = reader.begin(self._stop)

    def _say_unknown(self, reader: Reader, batches: int) -> None:
        warnings_given.warn(
            f"The place in `{type(self.loader).__name__}` is unknown: the run was saved after "
            f"{batches} batches of a pass, which now starts at its beginning, so that data is "
            f"repeated. To go on exactly, {reader.advice()}.",
            category=PossibleUserWarning,
        )

    def close(self) -> None:
        """End the workers; the next `begin()` starts new ones."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._fetch = self._not_begun
        self._ahead.clear()
