"""How a pass over each kind of loader is begun, read and taken up again."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

from torch.utils.data import DataLoader

from pytorch_lightning.data.indices import has_state
from pytorch_lightning.data.loaders import LoaderReader, is_plain_loader
from pytorch_lightning.data.rounds import Dealt, dealt_of
from pytorch_lightning.data.stateful import StatefulReader
from pytorch_lightning.data.streams import StreamReader, knows_place_in_workers
from pytorch_lightning.utilities.exceptions import DataError


class Reader(Protocol):
    """One loader, read batch by batch."""

    kind: str
    draws_here: bool  # batches are made in this process, from its random generators
    restarts_passes: bool  # batches come in any order: a seek goes to the start of the pass

    def begin(self, limit: float) -> Callable[[], Any]:
        """Start a pass; the answer gives a batch per call, `StopIteration` at the end."""

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any] | None:
        """Start inside a pass; None where the loader cannot."""

    def position(self, batches: int) -> dict[str, Any]:
        """What `seek` needs to stand behind that many batches; asked for the last few only."""

    def num_samples(self, batches: int) -> int | None:
        """How many samples were collated into the last of that many batches."""

    def sample_ids(self, batches: int) -> list[Any] | None:
        """Their indices, where known."""

    def pass_length(self, limit: float) -> tuple[float, float] | None:
        """Batches and limit of a pass that was taken up, where others than the loader's hold.

        Args:
            limit: Of a pass that this many ranks began.
        """

    def peek(self) -> Any:
        """The indices of the first batch of a pass that was just begun, if none is read for it."""

    def advice(self) -> str:
        """What to change so that a seek works."""

    def close(self) -> None:
        """End worker processes."""


def open_reader(loader: Any, rank: int) -> Reader:
    """Choose the reader for a loader by what it is."""
    if isinstance(loader, list | tuple):
        return SequenceReader(loader)
    if is_plain_loader(loader):
        if knows_place_in_workers(loader):
            return StreamReader(loader, rank)
        return LoaderReader(loader, rank)
    if has_state(loader):
        return StatefulReader(loader, rank)
    return IterableReader(loader)


class _Uncollated:
    """What a reader answers that knows nothing about samples."""

    draws_here = True
    restarts_passes = False

    def num_samples(self, batches: int) -> int | None:
        return None

    def sample_ids(self, batches: int) -> list[Any] | None:
        return None

    def pass_length(self, limit: float) -> tuple[float, float] | None:
        return None

    def peek(self) -> Any:
        return None

    def close(self) -> None:
        """Nothing runs in the background."""


def _data_error(loader: Any, error: Exception) -> DataError:
    name = type(loader).__name__
    return DataError(f"`{name}` raised {type(error).__name__} while making a batch: {error}")


class SequenceReader(_Uncollated):
    """Batches in memory."""

    kind = "sequence"

    def __init__(self, batches: list[Any] | tuple[Any, ...]) -> None:
        self._batches = batches

    def begin(self, limit: float) -> Callable[[], Any]:
        return iter(self._batches).__next__

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any]:
        iterator = iter(self._batches)
        place: Callable[[int], None] = getattr(iterator, "__setstate__")  # noqa: B009 - untyped
        place(batches)  # in constant time
        return iterator.__next__

    def position(self, batches: int) -> dict[str, Any]:
        return {}

    def advice(self) -> str:
        return "pass a list of the same batches"


class IterableReader(_Uncollated):
    """Anything that can be iterated over."""

    kind = "iterable"

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._iterator: Iterator[Any] = iter(())

    def begin(self, limit: float) -> Callable[[], Any]:
        dealt = dealt_of(self._loader)
        if dealt is None:
            self._iterator = iter(self._loader)
            return self._fetch
        dealt.was_asked = False
        self._iterator = iter(self._loader)
        return partial(self._fetch_dealt, dealt)

    def _fetch(self) -> Any:
        try:
            return next(self._iterator)
        except IndexError as error:
            raise _data_error(self._loader, error) from error

    def _fetch_dealt(self, dealt: Dealt) -> Any:
        batch = self._fetch()
        if not dealt.was_asked:
            name = type(self._loader).__name__
            raise DataError(
                f"`{name}.__iter__` does not ask its `batch_sampler`, so that the batches cannot "
                "be dealt to the ranks. Let it read each rank's part itself, and pass "
                "`use_distributed_sampler=False`."
            )
        return batch

    def seek(
        self, position: dict[str, Any], batches: int, *, finished: bool, limit: float
    ) -> Callable[[], Any] | None:
        if finished or position["at_end"]:
            return iter(()).__next__
        return self.begin(limit) if batches == 0 else None

    def position(self, batches: int) -> dict[str, Any]:
        return {}

    def advice(self) -> str:
        if isinstance(self._loader, DataLoader):
            return (
                "its class overrides `__iter__`: give it `state_dict()` and `load_state_dict()` "
                "that tell and set the place"
            )
        return "give it `state_dict()` and `load_state_dict()` that tell and set the place"

    def close(self) -> None:
        self._iterator = iter(())
