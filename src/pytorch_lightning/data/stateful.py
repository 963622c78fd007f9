"""Loaders that know their own place, and the random states of their workers, which they do not."""

import copy
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch.utils.data import DataLoader

from pytorch_lightning.data.workers import Collate, Resumed, StartWorker, bytes_of, tensor_of
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.seed import isolate_rng


class _Place(NamedTuple):
    number: int
    loader: Any
    states: list[bytes | None]


class StatefulReader:
    """Takes the state of a loader before each batch is asked for."""

    kind = "stateful"
    restarts_passes = False

    def __init__(self, loader: Any, rank: int) -> None:
        self._loader = loader
        self._rank = rank
        self._workers = loader.num_workers if _tells_of_workers(loader) else 0
        self.draws_here = self._workers == 0
        self._persistent = self._workers > 0 and loader.persistent_workers
        self._states: list[bytes | None] = [None] * self._workers
        self._iterator: Iterator[Any] | None = None
        self._fetched = 0
        self._num_samples: int | None = None
        self._before: deque[_Place] = deque(maxlen=3)
        self._put_at_end = False

    def begin(self, limit: float) -> Callable[[], Any]:
        if not self._persistent:
            self._states = [None] * self._workers
            self._end_workers()
        with self._watched(None):
            self._iterator = iter(self._loader)
        self._start(0)
        return self._fetch

    def _start(self, batches: int) -> None:
        self._fetched, self._num_samples = batches, None
        self._before.clear()

    @contextmanager
    def _watched(self, resumed: Resumed | None) -> Iterator[None]:
        """Have workers that are started now tell how their random generators stand."""
        loader = self._loader
        if self._workers == 0:
            yield
            return
        collate, start = loader.collate_fn, loader.worker_init_fn
        counts = loader.batch_sampler is not None
        loader.collate_fn = Collate(collate, counts=counts, keeps_state=True, tell=_no_more)
        loader.worker_init_fn = StartWorker(start, rank=self._rank, resumed=resumed)
        try:
            yield
        finally:
            loader.collate_fn, loader.worker_init_fn = collate, start

    def _fetch(self) -> Any:
        if self._iterator is None:  # after a seek: what a pass draws as it begins is drawn already
            with isolate_rng(include_cuda=False), self._watched(None):
                self._iterator = iter(self._loader)
        self._before.append(self._now())
        try:
            batch = next(self._iterator)
        except StopIteration:
            if not (self._put_at_end and self._fetched == 0):
                self._before.pop()  # at its end a loader may say more clearly where it is
                raise
            # it still stood at the end, where the resume had put it
            self._put_at_end = False
            with self._watched(None):
                self._iterator = iter(self._loader)
            return self._fetch()
        except IndexError as error:
            name = type(self._loader).__name__
            raise DataError(f"`{name}` raised IndexError while making a batch: {error}") from error
        self._fetched += 1
        self._put_at_end = False
        if self._workers > 0:
            batch, self._num_samples, state, (worker, _) = batch
            self._states[worker] = state
        return batch

    def _now(self) -> _Place:
        return _Place(self._fetched, copy.deepcopy(self._loader.state_dict()), list(self._states))

    def position(self, batches: int) -> dict[str, Any]:
        place = next((p for p in self._before if p.number == batches), None) or self._now()
        states = [None if state is None else tensor_of(state) for state in place.states]
        return {"loader": place.loader, "states": states}

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any]:
        self._put_at_end = finished or bool(position["at_end"])
        self._iterator = None
        self._start(batches)
        states = position.get("states", [])
        resumed = None
        if len(states) == self._workers and (self._persistent or not self._put_at_end):
            self._states = [None if state is None else bytes_of(state) for state in states]
            resumed = Resumed(None, 0, list(self._states))
        self._loader.load_state_dict(copy.deepcopy(position["loader"]))
        with self._watched(resumed):
            # some begin a pass to answer, now that what it draws does not count
            self._loader.state_dict()
        self._before.append(_Place(batches, position["loader"], list(self._states)))
        return self._fetch

    def pass_length(self, limit: float) -> tuple[float, float] | None:
        return None

    def num_samples(self, batches: int) -> int | None:
        return self._num_samples

    def sample_ids(self, batches: int) -> list[Any] | None:
        return None

    def peek(self) -> Any:
        return None

    def advice(self) -> str:
        return "its `state_dict()` came from another kind of loader"

    def _end_workers(self) -> None:
        end_workers = getattr(self._iterator, "_shutdown_workers", None)
        if end_workers is not None:  # not left to the garbage collector, as in `loaders.py`
            end_workers()
        self._iterator = None

    def close(self) -> None:
        if self._persistent and self._iterator is not None:
            self._loader._iterator = None  # a later pass needs other workers
        self._end_workers()


def _no_more() -> bytes:
    return b""


def _tells_of_workers(loader: Any) -> bool:
    """Whether what workers collate comes out of the loader as it is."""
    if not isinstance(loader, DataLoader) or not getattr(loader, "in_order", True):
        return False
    package = sys.modules.get("torchdata.stateful_dataloader")
    known = (DataLoader, getattr(package, "StatefulDataLoader", DataLoader))
    names = ("__iter__", "_get_iterator")
    return any(
        all(getattr(type(loader), name) is getattr(kind, name) for name in names) for kind in known
    )
