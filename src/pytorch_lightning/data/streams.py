"""Streams that know their place, read by workers: each batch brings the place home with it."""

import math
import pickle
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pytorch_lightning.data.generators import restore_generator, state_of
from pytorch_lightning.data.indices import has_state
from pytorch_lightning.data.workers import (
    Collate,
    Resumed,
    StartWorker,
    bytes_of,
    reopened,
    tensor_of,
    twin_of,
)
from pytorch_lightning.utilities.exceptions import DataError


class Place(NamedTuple):
    """Where one worker is.

    Attributes:
        state: Its random generators.
        cursor: The state of its data set, pickled.
        over: Its stream ended within the last batch, for this pass.
        again: The pass before went to its end, where the data set may still stand.
    """

    state: bytes | None = None
    cursor: bytes | None = None
    over: bool = False
    again: bool = False


class StreamInWorker(IterableDataset[Any]):
    """A data set of the user in worker processes: put at its place before it is read.

    Args:
        places: By worker; none starts as it is.
    """

    def __init__(self, users: Any, places: Sequence[Place] = ()) -> None:
        self.users = users
        self.places = list(places)
        self.over = False

    def __len__(self) -> int:
        return len(self.users)

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        assert info is not None
        place = self.places[info.id] if self.places else Place()
        self.places = []
        self.over = False
        if place.cursor is not None:
            self.users.load_state_dict(pickle.loads(place.cursor))
        if place.over:
            self.over = True
            return
        came = False
        for sample in self.users:
            came = True
            yield sample
        if not came and place.again:
            yield from self.users
        self.over = True

    def tell(self) -> bytes:
        """The place after a batch."""
        return pickle.dumps((pickle.dumps(self.users.state_dict()), self.over))


class _Tasks:
    """What workers are told to do, in the place of torch's endless sampler for streams."""

    def __init__(self, batch_size: int | None) -> None:
        self.task = None if batch_size is None else [None] * batch_size
        self.are_over = False

    def __iter__(self) -> Iterator[Any]:
        self.are_over = False
        return self

    def __next__(self) -> Any:
        if self.are_over:
            raise StopIteration
        return self.task


def knows_place_in_workers(loader: DataLoader[Any]) -> bool:
    """Whether a plain loader's workers read a stream that can tell its place, in order."""
    datapipes = (torch.utils.data.IterDataPipe, torch.utils.data.MapDataPipe)
    return (
        loader.num_workers > 0
        and isinstance(loader.dataset, IterableDataset)
        and has_state(loader.dataset)
        and not isinstance(loader.dataset, datapipes)
        and getattr(loader, "in_order", True)
    )


class _Fetched(NamedTuple):
    number: int
    num_samples: int | None
    worker: int
    last: int  # the worker of the batch before
    replaced: Place


class StreamReader:
    """Reads a shallow copy of a `DataLoader` whose workers have a stream with a state."""

    kind = "stream"
    draws_here = False
    restarts_passes = False

    def __init__(self, loader: DataLoader[Any], rank: int) -> None:
        self._loader = loader
        self._rank = rank
        self._workers = loader.num_workers
        self._counts = loader.batch_sampler is not None
        self._persistent = loader.persistent_workers
        self._tasks = _Tasks(loader.batch_size if self._counts else None)
        self._twin: DataLoader[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        self._limit = math.inf
        self._base_seed: int | None = None
        self._places = [Place()] * self._workers
        self._last = -1  # the worker of the last batch
        self._must_start = False  # there are no workers yet, after a resume between passes
        self._turn = 0  # which worker torch takes for its first one
        self._ended = [True] * self._workers  # which streams the pass before went through
        self._fetched = 0
        self._recent: deque[_Fetched] = deque(maxlen=3)

    def begin(self, limit: float) -> Callable[[], Any]:
        if not self._persistent or self._base_seed is None:
            self._places = [Place()] * self._workers
            self._make_twin(None)
            assert self._twin is not None
            self._iterator = iter(self._twin)
            self._base_seed = getattr(self._iterator, "_base_seed")  # noqa: B009 - torch's own
        else:
            self._begin_again()
        self._start(0, -1, limit)
        return self._fetch

    def _begin_again(self) -> None:
        """Start another pass of persistent workers, which draw no base seed for it."""
        self._leave_pass()
        self._places = [
            place._replace(over=False, again=ended)
            for place, ended in zip(self._places, self._ended, strict=True)
        ]
        if self._turn == 0 and not self._must_start:
            assert self._twin is not None
            self._iterator = iter(self._twin)
            return
        self._make_twin(self._resumed(0))
        assert self._twin is not None
        self._iterator = reopened(self._twin, self._loader)
        self._turn, self._must_start = 0, False

    def _leave_pass(self) -> None:
        """Take what workers have made ahead for a pass that is left: it moved their places."""
        if self._twin is None or self._tasks.are_over:
            return
        self._tasks.are_over = True
        while True:
            try:
                self._take()
            except StopIteration:
                break
            except Exception:  # the batch was not wanted
                continue
        alive = getattr(self._iterator, "_workers_status")  # noqa: B009 - torch's own
        for index, reads_on in enumerate(alive):
            self._ended[(index + self._turn) % self._workers] = not reads_on

    def _resumed(self, turn: int) -> Resumed:
        return Resumed(self._base_seed, turn, [place.state for place in self._places])

    def _make_twin(self, resumed: Resumed | None) -> None:
        loader = self._loader
        self.close()
        stream = StreamInWorker(loader.dataset, self._places if resumed else ())
        changes: dict[str, Any] = {
            "_iterator": None,
            "dataset": stream,
            "batch_sampler" if self._counts else "sampler": self._tasks,
            "collate_fn": Collate(
                loader.collate_fn, counts=self._counts, keeps_state=True, tell=stream.tell
            ),
            "worker_init_fn": StartWorker(
                loader.worker_init_fn, rank=self._rank, resumed=resumed, dataset=loader.dataset
            ),
        }
        self._twin = twin_of(loader, changes)

    def _start(self, batches: int, last: int, limit: float) -> None:
        self._fetched, self._last, self._limit = batches, last, limit
        self._recent.clear()

    def _fetch(self) -> Any:
        before = self._last
        try:
            batch, num_samples, replaced = self._take()
        except StopIteration:
            self._tasks.are_over, self._ended = True, [True] * self._workers
            raise
        except IndexError as error:
            name = type(self._loader.dataset).__name__
            raise DataError(f"Data set `{name}` raised IndexError: {error}") from error
        self._fetched += 1
        self._recent.append(_Fetched(self._fetched, num_samples, self._last, before, replaced))
        return batch

    def _take(self) -> tuple[Any, int | None, Place]:
        """The next batch, and where its worker was before it."""
        batch, num_samples, state, (worker, told) = next(self._iterator)
        cursor, over = pickle.loads(told)
        replaced, self._places[worker] = self._places[worker], Place(state, cursor, over)
        self._last = worker
        return batch, num_samples, replaced

    def num_samples(self, batches: int) -> int | None:
        found = (known.num_samples for known in self._recent if known.number == batches)
        return next(found, None)

    def sample_ids(self, batches: int) -> list[Any] | None:
        return None

    def position(self, batches: int) -> dict[str, Any]:
        if self._persistent and batches >= self._limit:
            self._leave_pass()
        places, last = list(self._places), self._last
        for known in reversed(self._recent):
            if known.number > batches:
                places[known.worker], last = known.replaced, known.last
        generator = self._loader.generator
        return {
            "workers": self._workers,
            "base_seed": self._base_seed,
            "last": last,
            "ended": list(self._ended),
            "states": [None if p.state is None else tensor_of(p.state) for p in places],
            "cursors": [None if p.cursor is None else pickle.loads(p.cursor) for p in places],
            "over": [place.over for place in places],
            "again": [place.again for place in places],
            "generator": None if generator is None else state_of(generator),
        }

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any] | None:
        over = finished or bool(position["at_end"])
        if position["generator"] is not None and self._loader.generator is not None:
            restore_generator(self._loader.generator, position["generator"])
        if position["workers"] != self._workers:
            return iter(()).__next__ if over else None
        self._base_seed = position["base_seed"]
        self._places = list(map(_place_of, *(position[k] for k in _OF_WORKERS)))
        self._start(batches, int(position["last"]), limit)
        self._ended = list(position["ended"])
        if over:
            self._must_start = True
            return iter(()).__next__
        self._turn = (self._last + 1) % self._workers
        self._make_twin(self._resumed(self._turn))
        assert self._twin is not None
        self._iterator = reopened(self._twin, self._loader)
        return self._fetch

    def pass_length(self, limit: float) -> tuple[float, float] | None:
        return None

    def peek(self) -> Any:
        return None

    def advice(self) -> str:
        return "use as many workers as in the run that was saved"

    def close(self) -> None:
        end_workers = getattr(self._iterator, "_shutdown_workers", None)
        if end_workers is not None:  # not left to the garbage collector, as in `loaders.py`
            end_workers()
        self._iterator = iter(())
        self._twin = None


_OF_WORKERS = ("states", "cursors", "over", "again")


def _place_of(state: torch.Tensor | None, cursor: Any, over: bool, again: bool) -> Place:
    return Place(
        None if state is None else bytes_of(state),
        None if cursor is None else pickle.dumps(cursor),
        bool(over),
        bool(again),
    )
