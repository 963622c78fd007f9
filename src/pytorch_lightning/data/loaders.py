"""Plain torch loaders, read with their order and samples as torch gives them."""

import copy
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from pytorch_lightning.data.generators import GlobalGenerators
from pytorch_lightning.data.indices import IndexStream, has_state
from pytorch_lightning.data.rounds import dealt_of
from pytorch_lightning.data.workers import (
    Collate,
    Resumed,
    StartWorker,
    bytes_of,
    mixed_seed,
    reopened,
    tensor_of,
    twin_of,
)
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.warnings import PossibleUserWarning


def is_plain_loader(loader: Any) -> bool:
    """Whether torch's own code iterates, so that the order can be followed."""
    if not isinstance(loader, DataLoader) or has_state(loader):
        return False
    kind = type(loader)
    return all(
        getattr(kind, name) is getattr(DataLoader, name)
        for name in ("__iter__", "_get_iterator", "_index_sampler")
    )


class _Fetched:
    """What is known of one batch, and what it replaced."""

    __slots__ = ("cursor", "ids", "num_samples", "number", "replaced")

    def __init__(self, number: int, num_samples: int | None, ids: Any, cursor: Any) -> None:
        self.number = number
        self.num_samples = num_samples
        self.ids = ids
        self.cursor = cursor  # of the data set, before the batch was read
        self.replaced: bytes | None = None  # the state of its worker before it


class LoaderReader:
    """Reads a shallow copy of a `DataLoader` that follows its own index stream."""

    kind = "loader"

    def __init__(self, loader: DataLoader[Any], rank: int) -> None:
        self._loader = loader
        self._dataset: Any = loader.dataset
        self._rank = rank
        dealt = dealt_of(loader)
        self._world = dealt.share.world if dealt is not None else 1
        self._workers = loader.num_workers
        in_order = self._workers == 0 or getattr(loader, "in_order", True)
        self._has_order = not isinstance(loader.dataset, IterableDataset)
        self._has_cursor = self._workers == 0 and has_state(loader.dataset)
        self._counts = loader.batch_sampler is not None
        self._keeps_states = self._workers > 0 and self._has_order and in_order
        self._in_order = in_order
        self.draws_here = self._workers == 0
        self.restarts_passes = self._has_order and not in_order
        self._generators = GlobalGenerators()
        self._stream: IndexStream | None = None
        self._twin: DataLoader[Any] | None = None
        self._iterator: Iterator[Any] = iter(())
        self._fetched = 0
        self._recent: deque[_Fetched] = deque(maxlen=3)
        self._base_seed: int | None = None
        self._states: list[bytes | None] = [None] * self._workers
        self._put_at_end = False  # a data set that was told to stand at the end of its pass
        self._turned = False  # the workers stand for others, or were not started yet

    def begin(self, limit: float) -> Callable[[], Any]:
        if self._loader.persistent_workers and self._base_seed is not None:
            self._begin_again(limit)
        else:
            self._states = [None] * self._workers
            self._make_twin(limit)
            self._start(0, limit)
            assert self._twin is not None
            self._iterator = iter(self._twin)
            self._base_seed = getattr(self._iterator, "_base_seed")  # noqa: B009 - torch's own
        return self._fetch

    def _begin_again(self, limit: float) -> None:
        """Start another pass of persistent workers, which draw no base seed for it."""
        if self._keeps_states:
            self._finish_pass()
        if not self._turned:
            self._start(0, limit)
            assert self._twin is not None
            self._iterator = iter(self._twin)
            return
        # New workers in the order that torch deals batches out, in the states of the old ones.
        self._make_twin(limit, Resumed(self._base_seed or 0, 0, list(self._states)))
        self._start(0, limit)
        if self._stream is not None:
            self._stream.place()
        self._open_twin()
        self._turned = False

    def _finish_pass(self) -> None:
        """Take what workers have made ahead for a pass that was left: it moved their states."""
        if self._stream is None:
            return
        self._stream.limit = 0
        for _ in range(len(self._stream.waiting)):
            try:
                self._fetch()
            except Exception:  # the batch was not wanted
                continue

    def _make_twin(self, limit: float, resumed: Resumed | None = None) -> None:
        loader = self._loader
        self.close()
        changes: dict[str, Any] = {
            "_iterator": None,
            "collate_fn": Collate(
                loader.collate_fn, counts=self._counts, keeps_state=self._keeps_states
            ),
        }
        if self._workers > 0:
            start = StartWorker(loader.worker_init_fn, rank=self._rank, resumed=resumed)
            changes["worker_init_fn"] = start
        if self._has_order:
            self._stream = IndexStream(loader, limit, self._generators)
            changes["batch_sampler" if self._counts else "sampler"] = self._stream
        self._twin = twin_of(loader, changes)

    def _open_twin(self) -> None:
        """Go on with a pass that was begun before."""
        assert self._twin is not None
        self._iterator = reopened(self._twin, self._loader)
        if self._stream is not None:
            self._stream.release()

    def _start(self, batches: int, limit: float) -> None:
        self._fetched = batches
        self._recent.clear()
        if self._stream is not None:
            self._stream.limit = limit

    def _fetch(self) -> Any:
        cursor = copy.deepcopy(self._dataset.state_dict()) if self._has_cursor else None
        stream = self._stream
        try:
            batch, num_samples, state = next(self._iterator)
        except StopIteration as error:
            if self._put_at_end and self._fetched == 0:
                return self._fetch_again()
            if stream is None or stream.is_over:
                raise
            raise self._data_error(error) from error
        except IndexError as error:
            raise self._data_error(error) from error
        ids = stream.waiting.popleft() if stream is not None else None
        known = _Fetched(self._fetched + 1, num_samples, ids, cursor)
        if state is not None:
            worker = self._fetched % self._workers
            known.replaced = self._states[worker]
            self._states[worker] = state
        self._fetched = known.number
        self._put_at_end = False
        self._recent.append(known)
        return batch

    def _fetch_again(self) -> Any:
        """Begin once more: the data set still stood at the end, where the resume had put it."""
        self._put_at_end = False
        self._open_twin()
        return self._fetch()

    def _data_error(self, error: Exception) -> DataError:
        name, where = type(self._dataset).__name__, ""
        if self._stream is not None and self._stream.waiting and self._in_order:
            where = f" while reading the indices {self._stream.waiting.popleft()}"
        return DataError(f"Data set `{name}` raised {type(error).__name__}{where}: {error}")

    def _of(self, batches: int) -> _Fetched | None:
        return next((known for known in self._recent if known.number == batches), None)

    def num_samples(self, batches: int) -> int | None:
        known = self._of(batches)
        return None if known is None else known.num_samples

    def sample_ids(self, batches: int) -> list[Any] | None:
        known = self._of(batches)
        if known is None or not isinstance(known.ids, list) or not self._in_order:
            return None
        return known.ids

    def position(self, batches: int) -> dict[str, Any]:
        state: dict[str, Any] = {"workers": self._workers, "base_seed": self._base_seed}
        if self._stream is not None:
            again = [known.ids for known in self._recent if known.number > batches]
            state["order"] = self._stream.position(again if self._in_order else [])
        if self._has_cursor:
            following = self._of(batches + 1)
            state["cursor"] = copy.deepcopy(
                self._dataset.state_dict() if following is None else following.cursor
            )
        if self._keeps_states:
            states = list(self._states)
            for known in reversed(self._recent):
                if known.number > batches:
                    states[(known.number - 1) % self._workers] = known.replaced
            state["states"] = [None if packed is None else tensor_of(packed) for packed in states]
        return state

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any] | None:
        over = finished or bool(position["at_end"])
        if not (self._has_order or self._has_cursor or over) and batches > 0:
            return None
        resumed = self._resumed_workers(position, batches)
        self._make_twin(limit, resumed)
        if self._has_cursor and "cursor" in position:
            self._dataset.load_state_dict(copy.deepcopy(position["cursor"]))
        if self._stream is not None:
            self._stream.seek(position["order"], batches, finished=over)
            if self._stream.dealt is not None:
                limit = self._stream.dealt.limited(limit)
        self._start(batches, limit)
        self._put_at_end = over and self._has_cursor
        if over:
            self._turned = True  # there are no workers yet
            if self._stream is not None:
                self._stream.finish()
        else:
            self._open_twin()
        return self._fetch

    def pass_length(self, limit: float) -> tuple[float, float] | None:
        """Batches of a pass that was taken up with other ranks, and its limit."""
        dealt = self._stream.dealt if self._stream is not None else None
        return None if dealt is None else (dealt.length(), dealt.limited(limit))

    def peek(self) -> Any:
        """The indices of the first batch of a pass that was just begun, if none is read for it."""
        stream = self._stream
        if stream is None or not self._in_order:
            return None
        if stream.waiting:
            return stream.waiting[0]
        return stream.peek()

    def _resumed_workers(self, position: dict[str, Any], batches: int) -> Resumed | None:
        self._base_seed = base_seed = position["base_seed"]
        if self._workers == 0 and position["workers"] == 0:
            return None
        world = position.get("order", {}).get("pace", {}).get("world", 1)
        states = position.get("states")
        if world == self._world and states is not None and len(states) == self._workers:
            self._states = [None if s is None else bytes_of(s) for s in states]
            turn = batches % self._workers
            self._turned = turn != 0
            return Resumed(base_seed, turn, list(self._states))
        if batches > 0 and (self._keeps_states or states):
            _say_reseeded((world, position["workers"]), (self._world, self._workers))
        if world != self._world:
            base_seed = mixed_seed(base_seed, self._rank) & (2**62 - 1)
        if self._workers == 0:
            return None
        self._states = [None] * self._workers
        seed = mixed_seed(base_seed, batches) & (2**62 - 1) if batches else base_seed
        self._base_seed = seed
        return Resumed(seed, 0, list(self._states))

    def advice(self) -> str:
        return "give its data set `state_dict()` and `load_state_dict()`"

    def close(self) -> None:
        # said, not left to the garbage collector: after an error in a worker it may collect the
        # queues first, and torch then waits five seconds for each worker
        end_workers = getattr(self._iterator, "_shutdown_workers", None)
        if end_workers is not None:
            end_workers()
        self._iterator = iter(())
        self._twin = None


def _say_reseeded(before: tuple[int, int], now: tuple[int, int]) -> None:
    reason = "lacks the random states of its workers"
    if before[0] != now[0]:
        reason = f"was saved by {before[0]} rank(s) and goes on with {now[0]}"
    elif before[1] != now[1]:
        reason = f"was saved with `num_workers={before[1]}` and goes on with {now[1]}"
    warnings_given.warn(
        f"The run {reason}: the order of the samples is kept, what workers draw at random is not.",
        category=PossibleUserWarning,
    )
