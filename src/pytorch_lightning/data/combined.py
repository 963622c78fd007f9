"""Several loaders iterated over as one, in every documented mode."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Literal

from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.data import DataLoader

from pytorch_lightning.data.position import length_of
from pytorch_lightning.utilities.suggest import did_you_mean

Mode = Literal["min_size", "max_size_cycle", "max_size", "sequential"]
_Item = tuple[Any, int, int]
_LOOKED_AT = 64  # elements of a list, so that a long list of batches costs nothing


def is_collection(loaders: Any) -> bool:
    """Whether an object holds several loaders, rather than being one.

    A dictionary does unless it is empty. A list or tuple does if a loader is in it, at any depth:
    a `DataLoader`, or an iterable that is neither data (tensors, arrays, strings, anything with a
    `to` method) nor a container. Any other list or tuple is one loader: batches in memory.
    """
    if isinstance(loaders, Mapping):
        return len(loaders) > 0
    if not isinstance(loaders, list | tuple):
        return False
    return any(_holds_loader(element) for element in loaders[:_LOOKED_AT])


def _holds_loader(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_loader(element) for element in value.values())
    if isinstance(value, list | tuple):
        return any(_holds_loader(element) for element in value[:_LOOKED_AT])
    if isinstance(value, DataLoader | CombinedLoader):
        return True
    if isinstance(value, str | bytes) or not hasattr(type(value), "__iter__"):
        return False
    return not (hasattr(value, "to") or hasattr(value, "__array__"))


def flatten(loaders: Any, *, known_collection: bool = False) -> tuple[list[Any], TreeSpec]:
    """The loaders of a collection in a flat list, and how to put their batches together.

    Args:
        known_collection: The elements of the outer list are loaders, even if they are plain lists.
    """
    opened = known_collection and _holds_iterables(loaders)

    def is_one_loader(part: Any) -> bool:
        return not (is_collection(part) or (opened and part is loaders))

    return tree_flatten(loaders, is_leaf=is_one_loader)


def _holds_iterables(loaders: Any) -> bool:
    if not isinstance(loaders, list | tuple):
        return False
    return all(hasattr(type(e), "__iter__") and not isinstance(e, str | bytes) for e in loaders)


class CombinedLoader(Iterable[_Item]):
    """Iterate over a collection of loaders together, or one after the other.

    Args:
        iterables: Loaders in a list, tuple, dictionary or any nesting of them.
        mode: `min_size` ends with the shortest, `max_size_cycle` with the longest while shorter
            ones restart, `max_size` with the longest while exhausted ones give `None`;
            `sequential` takes one after the other.

    Example:
        >>> loaders = {"a": range(3), "b": range(10, 12)}
        >>> for batch, batch_idx, dataloader_idx in CombinedLoader(loaders, "max_size_cycle"):
        ...     print(batch, batch_idx, dataloader_idx)
        {'a': 0, 'b': 10} 0 0
        {'a': 1, 'b': 11} 1 0
        {'a': 2, 'b': 10} 2 0
    """

    def __init__(self, iterables: Any, mode: Mode = "min_size") -> None:
        if mode not in _MODES:
            raise ValueError(
                f"`CombinedLoader(mode={mode!r})`: pass one of {', '.join(map(repr, _MODES))}."
                + did_you_mean(str(mode), _MODES)
            )
        self._iterables = iterables
        self._flattened, self._structure = flatten(iterables, known_collection=True)
        self._mode: Mode = mode
        self._limits: list[float] | None = None
        self._items: Iterator[_Item] | None = None

    @property
    def iterables(self) -> Any:
        """The collection as it was given."""
        return self._iterables

    @property
    def mode(self) -> Mode:
        """How the loaders are combined."""
        return self._mode

    @property
    def flattened(self) -> list[Any]:
        """The loaders in a flat list; assigning replaces them in the collection."""
        return self._flattened

    @flattened.setter
    def flattened(self, flattened: list[Any]) -> None:
        if len(flattened) != len(self._flattened):
            raise ValueError(
                f"Mismatch in flattened length ({len(flattened)}) and existing length "
                f"({len(self._flattened)})"
            )
        self._iterables = tree_unflatten(flattened, self._structure)
        self._flattened = flattened

    @property
    def sampler(self) -> Any:
        """The samplers in the structure of the collection."""
        return self._attribute("sampler")

    @property
    def batch_sampler(self) -> Any:
        """The batch samplers in the structure of the collection."""
        return self._attribute("batch_sampler")

    def _attribute(self, name: str) -> Any:
        values = [getattr(loader, name, None) for loader in self._flattened]
        return tree_unflatten(values, self._structure)

    @property
    def limits(self) -> list[float] | None:
        """At most so many batches of each loader; one number holds for all."""
        return self._limits

    @limits.setter
    def limits(self, limits: float | list[float] | None) -> None:
        if isinstance(limits, int | float):
            limits = [limits] * len(self._flattened)
        elif isinstance(limits, list) and len(limits) != len(self._flattened):
            raise ValueError(
                f"Mismatch in number of limits ({len(limits)}) and number of iterables "
                f"({len(self._flattened)})"
            )
        self._limits = limits

    def limit_of(self, index: int) -> float:
        """The limit of one loader in batches; infinity if there is none."""
        limit = math.inf if self._limits is None else self._limits[index]
        return limit if limit == math.inf else math.ceil(limit)

    def __len__(self) -> int:
        if self._items is None:
            raise RuntimeError("`len(combined_loader)` is known once `iter(combined_loader)` ran.")
        lengths = [
            min(length_of(loader), self.limit_of(i)) for i, loader in enumerate(self._flattened)
        ]
        length = _MODES[self._mode][1](lengths) if lengths else 0
        if length == math.inf:
            raise TypeError("The length is unknown: a loader of this collection has none.")
        return int(length)

    def __iter__(self) -> "CombinedLoader":
        self._items = _MODES[self._mode][0](self)
        return self

    def __next__(self) -> _Item:
        if self._items is None:
            raise RuntimeError("`next(combined_loader)`: call `iter(combined_loader)` first.")
        return next(self._items)

    def reset(self) -> None:
        """Forget where the iteration is and end the workers of the loaders."""
        self._items = None
        for loader in self._flattened:
            iterator = getattr(loader, "_iterator", None)
            if iterator is not None and hasattr(iterator, "_shutdown_workers"):
                iterator._shutdown_workers()
                loader._iterator = None

    def __getstate__(self) -> dict[str, Any]:
        return {"iterables": self._iterables, "mode": self._mode, "limits": self._limits}

    def __setstate__(self, state: dict[str, Any]) -> None:
        CombinedLoader.__init__(self, state["iterables"], state["mode"])
        self._limits = state["limits"]

    def _open(self, index: int) -> Iterator[Any]:
        limit = self.limit_of(index)
        iterator = iter(self._flattened[index])
        return iterator if limit == math.inf else islice(iterator, int(limit))

    def _joined(self, batches: list[Any]) -> Any:
        return tree_unflatten(batches, self._structure)


_END = object()


def _min_size(combined: CombinedLoader) -> Iterator[_Item]:
    iterators = [combined._open(i) for i in range(len(combined.flattened))]
    for batch_idx, batches in enumerate(zip(*iterators, strict=False)):
        yield combined._joined(list(batches)), batch_idx, 0


def _max_size(combined: CombinedLoader) -> Iterator[_Item]:
    iterators = [combined._open(i) for i in range(len(combined.flattened))]
    batch_idx = 0
    while True:
        batches = [next(iterator, _END) for iterator in iterators]
        if all(batch is _END for batch in batches):
            return
        joined = combined._joined([None if batch is _END else batch for batch in batches])
        yield joined, batch_idx, 0
        batch_idx += 1


def _max_size_cycle(combined: CombinedLoader) -> Iterator[_Item]:
    iterators = [combined._open(i) for i in range(len(combined.flattened))]
    complete = [False] * len(iterators)
    batch_idx = 0
    while iterators:
        batches = []
        for i, iterator in enumerate(iterators):
            batch = next(iterator, _END)
            if batch is _END:
                complete[i] = True
                if all(complete):
                    return
                iterators[i] = combined._open(i)
                batch = next(iterators[i], _END)
                if batch is _END:  # empty: there is nothing to go round in
                    return
            batches.append(batch)
        yield combined._joined(batches), batch_idx, 0
        batch_idx += 1


def _sequential(combined: CombinedLoader) -> Iterator[_Item]:
    for index in range(len(combined.flattened)):
        for batch_idx, batch in enumerate(combined._open(index)):
            yield batch, batch_idx, index


_Iterate = Callable[[CombinedLoader], Iterator[_Item]]
_Length = Callable[[list[float]], float]
_MODES: dict[str, tuple[_Iterate, _Length]] = {
    "min_size": (_min_size, min),
    "max_size_cycle": (_max_size_cycle, max),
    "max_size": (_max_size, max),
    "sequential": (_sequential, sum),
}
