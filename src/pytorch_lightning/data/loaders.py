"""Plain torch loaders, read with their order and samples as torch gives them."""

import copy
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from pytorch_lightning.data.indices import IndexStream, has_state
from pytorch_lightning.utilities.exceptions import DataError


def is_plain_loader(loader: Any) -> bool:
    """Whether torch's own code iterates, so that the order can be followed."""
    if not isinstance(loader, DataLoader) or has_state(loader):
        return False
    kind = type(loader)
    return all(
        getattr(kind, name) is getattr(DataLoader, name)
        for name in ("__iter__", "_get_iterator", "_index_sampler")
    )


class _Collate:
    """The user's collate function, with the number of samples beside the batch."""

    def __init__(self, collate: Callable[[Any], Any], *, counts: bool) -> None:
        self.collate = collate
        self.counts = counts

    def __call__(self, samples: Any) -> tuple[Any, int | None]:
        try:
            batch = self.collate(samples)
        except StopIteration as error:
            raise DataError("`collate_fn` raised StopIteration.") from error
        return batch, (len(samples) if self.counts else None)


class _Fetched:
    """What is known of one batch."""

    __slots__ = ("number", "num_samples", "ids", "cursor")

    def __init__(self, number: int, num_samples: int | None, ids: Any, cursor: Any) -> None:
        self.number = number
        self.num_samples = num_samples
        self.ids = ids
        self.cursor = cursor  # of the data set, before the batch was read


class LoaderReader:
    """Reads a shallow copy of a `DataLoader` that follows its own index stream."""

    kind = "loader"

    def __init__(self, loader: DataLoader[Any], rank: int) -> None:
        self._loader = loader
        self._rank = rank
        self._has_order = not isinstance(loader.dataset, IterableDataset)
        self._has_cursor = loader.num_workers == 0 and has_state(loader.dataset)
        self._counts = loader.batch_sampler is not None
        self.draws_here = loader.num_workers == 0
        self._stream: IndexStream | None = None
        self._twin: DataLoader[Any] | None = None
        self._iterator: Iterator[Any] | None = None
        self._fetched = 0
        self._recent: deque[_Fetched] = deque(maxlen=3)

    def begin(self, limit: float) -> Callable[[], Any]:
        if not (self._loader.persistent_workers and self._twin is not None):
            self._make_twin(limit)
        self._start(0, limit)
        assert self._twin is not None
        self._iterator = iter(self._twin)
        return self._fetch

    def _make_twin(self, limit: float) -> None:
        loader = self._loader
        self._iterator = None
        twin = object.__new__(type(loader))
        changes: dict[str, Any] = {
            "_iterator": None,
            "collate_fn": _Collate(loader.collate_fn, counts=self._counts),
        }
        if self._has_order:
            self._stream = IndexStream(loader, limit)
            changes["batch_sampler" if self._counts else "sampler"] = self._stream
        twin.__dict__.update(loader.__dict__)
        twin.__dict__.update(changes)  # past `DataLoader.__setattr__`, which refuses
        self._twin = twin

    def _start(self, batches: int, limit: float) -> None:
        self._fetched = batches
        self._recent.clear()
        if self._stream is not None:
            self._stream.limit = limit

    def _fetch(self) -> Any:
        assert self._iterator is not None
        cursor = copy.deepcopy(self._loader.dataset.state_dict()) if self._has_cursor else None  # type: ignore[attr-defined] - looked for above
        try:
            batch, num_samples = next(self._iterator)
        except StopIteration as error:
            if self._stream is None or self._stream.is_over:
                raise
            raise self._data_error(error) from error
        except IndexError as error:
            raise self._data_error(error) from error
        ids = self._stream.waiting.popleft() if self._stream is not None else None
        self._fetched += 1
        self._recent.append(_Fetched(self._fetched, num_samples, ids, cursor))
        return batch

    def _data_error(self, error: Exception) -> DataError:
        name = type(self._loader.dataset).__name__
        where = ""
        if self._stream is not None and self._stream.waiting and self._loader.in_order:
            where = f" while reading the indices {self._stream.waiting[0]}"
        return DataError(f"Data set `{name}` raised {type(error).__name__}{where}: {error}")

    def _of(self, batches: int) -> _Fetched | None:
        return next((known for known in self._recent if known.number == batches), None)

    def num_samples(self, batches: int) -> int | None:
        known = self._of(batches)
        return None if known is None else known.num_samples

    def sample_ids(self, batches: int) -> list[Any] | None:
        known = self._of(batches)
        if known is None or not isinstance(known.ids, list) or not self._loader.in_order:
            return None
        return known.ids

    def position(self, batches: int) -> dict[str, Any]:
        state: dict[str, Any] = {}
        if self._stream is not None:
            state["order"] = self._stream.position()
        if self._has_cursor:
            following = self._of(batches + 1)
            state["cursor"] = copy.deepcopy(
                self._loader.dataset.state_dict() if following is None else following.cursor  # type: ignore[attr-defined] - looked for above
            )
        return state

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any] | None:
        self._make_twin(limit)
        assert self._twin is not None
        if self._stream is None and not self._has_cursor and batches > 0:
            return None
        if self._has_cursor and "cursor" in position:
            self._loader.dataset.load_state_dict(copy.deepcopy(position["cursor"]))  # type: ignore[attr-defined] - looked for above
        if self._stream is not None:
            self._stream.seek(position["order"], batches, finished=finished)
        self._start(batches, limit)
        # torch draws a base seed for every iterator; this one must cost the user's generator nothing
        self._twin.generator = torch.Generator()
        self._iterator = iter(self._twin)
        self._twin.generator = self._loader.generator
        if self._stream is not None:
            self._stream.release()
        return self._fetch

    def advice(self) -> str:
        return "give its data set `state_dict()` and `load_state_dict()`, and use `num_workers=0`"

    def close(self) -> None:
        self._iterator = self._twin = None
