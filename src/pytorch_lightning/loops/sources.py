"""Which loader each stage reads: from an argument, the datamodule or the module."""

from collections.abc import Callable
from typing import Any

from pytorch_lightning.data.combined import CombinedLoader, flatten, is_collection
from pytorch_lightning.data.dealing import ALONE, Ranks
from pytorch_lightning.data.feed import Feed, open_source
from pytorch_lightning.data.fingerprints import (
    Fingerprint,
    compare,
    fingerprints,
    sure_length,
)
from pytorch_lightning.data.position import Source
from pytorch_lightning.loops.limits import Limits, count_limit
from pytorch_lightning.loops.state import Mark, State
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.warnings import PossibleUserWarning


class NoMoreBatches(StopIteration):
    """A batch was asked for behind the last one of its loader."""


class TrainData:
    """The training batches of a run: loaded, limited, reloaded, and where we are in them.

    Args:
        load: Asks for the loader, by its hook or from an argument.
        limit: `limit_train_batches`.
        reload_every: `reload_dataloaders_every_n_epochs`.
        measured: Called when the number of batches is known.
        ranks: Who reads which part of the data, asked when a loader is opened.
        gather: Gives what all ranks say, where there are several.

    Attributes:
        fingerprints: Of the loaders of all ranks, by rank, since the epoch began.
        lengths: Of all ranks, by rank, as far as they can be relied on.
    """

    def __init__(
        self,
        state: State,
        limits: Limits,
        *,
        load: Callable[[], Any],
        limit: int | float = 1.0,
        mode: str = "max_size_cycle",
        reload_every: int = 0,
        measured: Callable[["TrainData"], None] = lambda data: None,
        ranks: Callable[[], Ranks] = lambda: ALONE,
        gather: Callable[[Any], list[Any]] | None = None,
    ) -> None:
        self.state = state
        self.limits = limits
        self.load = load
        self.limit = limit
        self.mode = mode
        self.reload_every = reload_every
        self.measured = measured
        self.ranks = ranks
        self.gather = gather
        self.fingerprints: list[list[Fingerprint]] = []
        self.lengths: list[float] = []
        self.loader: Any = None
        self.source: Source | Feed | None = None
        self.position: dict[str, Any] | None = None  # to seek in the next pass
        self.restore_rng: Callable[[], None] | None = None
        self.outputs: list[Any] = []  # of the epoch, where `training_epoch_end` asks for them
        self.is_last = False

    def open(self) -> None:
        """Ask for the loader, and learn how long an epoch is."""
        if self.limit == 0:
            self.limits.num_batches = 0
            return
        if self.source is None:
            self._load()

    def _load(self) -> None:
        if self.source is not None:
            self.source.close()
        self.loader = self.load()
        check_iterable(self.loader, "train_dataloader")
        self.source = open_source(self.loader, mode=self.mode, ranks=self.ranks())
        length = self.source.length()
        self.limits.num_batches = count_limit(length, self.limit, "limit_train_batches")
        self.source.limit = self.limits.num_batches
        if length == 0:
            rank_zero_warn(
                "The training loader has no batch, so that nothing is trained: check its data "
                "set, batch size and `drop_last`.",
                category=PossibleUserWarning,
            )
        self.measured(self)

    def begin_epoch(self) -> None:
        """Start a pass, or take up the one that a checkpoint was saved in."""
        state = self.state
        due = self.reload_every and state.epoch - state.last_reload >= self.reload_every
        if due and state.at is Mark.EPOCH_START:
            self._load()
            state.last_reload = state.epoch
        assert self.source is not None
        self.outputs.clear()
        restore, self.restore_rng = self.restore_rng, None
        position, self.position = self.position, None
        resized = self.source.is_resized
        if position is not None and state.at is not Mark.EPOCH_START:
            self.source.seek(position)
            self.is_last = self.source.is_last
            if restore is not None:
                restore()
        else:
            if restore is not None:
                restore()
            self.source.begin(state.epoch)
            self.is_last = False
        if resized or self.source.is_resized:
            self.limits.num_batches = self.source.length()
            self.measured(self)
        if self.gather is not None and (ranks := self.ranks()).world > 1:
            own = fingerprints(self.source, ranks.rank), sure_length(self.source)
            told = self.gather(own)
            self.fingerprints = [of_rank for of_rank, _ in told]
            self.lengths = [length for _, length in told]
            compare(self.fingerprints)

    def next_batch(self) -> Any:
        """The next batch.

        Raises:
            NoMoreBatches: If the data ended before the batch that was announced as the last.
        """
        source = self.source
        assert source is not None
        try:
            batch = source.__next__()
        except StopIteration:
            raise NoMoreBatches from None
        self.is_last = source.is_last
        return batch

    def num_samples(self) -> int | None:
        """Samples collated into the running batch, where a loader did it."""
        return self.source.num_samples if self.source is not None else None

    def close(self) -> None:
        """End the workers."""
        if self.source is not None:
            self.source.close()
        self.source = None


class EvalData:
    """The loaders of an evaluation or a prediction, read one after the other.

    Attributes:
        lengths: Batches of this rank per loader.
        rounds: Of the rank that has the most; a loader in which it has none is empty for all.
    """

    def __init__(
        self, loaders: Any, *, limit: int | float, hook: str, ranks: Ranks = ALONE
    ) -> None:
        self.loader = loaders
        self.ranks = ranks
        self.sources: list[Source | Feed] = []
        self.parts, mode = _one_by_one(loaders)
        for part in self.parts:
            check_iterable(part, hook)
            source = (
                Source(ranks.deal(part), rank=ranks.rank, world=ranks.world)
                if mode == "sequential"
                else open_source(part, mode=mode, ranks=ranks, training=False)
            )
            # a share of what the rank with most batches has, so that all read as many rounds
            source.limit = count_limit(source.rounds(), limit, _LIMIT_OF[hook])
            self.sources.append(source)
        self.rounds: list[float] = [source.rounds() for source in self.sources]
        self.lengths: list[float] = [source.length() for source in self.sources]

    def limit_to(self, counts: list[float]) -> None:
        """Read at most so many batches of each loader."""
        for source, count in zip(self.sources, counts, strict=True):
            source.limit = count

    def close(self) -> None:
        """End the workers."""
        for source in self.sources:
            source.close()


_LIMIT_OF = {
    "val_dataloader": "limit_val_batches",
    "test_dataloader": "limit_test_batches",
    "predict_dataloader": "limit_predict_batches",
}


def _one_by_one(loaders: Any) -> tuple[list[Any], str]:
    """Evaluation reads the loaders of a collection one after the other, unless told otherwise."""
    if loaders is None:
        return [], "sequential"
    if isinstance(loaders, CombinedLoader):
        if loaders.mode != "sequential":
            return [loaders], loaders.mode
        return list(loaders.flattened), "sequential"
    if is_collection(loaders):
        return list(flatten(loaders)[0]), "sequential"
    return [loaders], "sequential"


def check_iterable(loader: Any, hook: str) -> None:
    """Refuse what cannot be iterated over.

    Raises:
        TypeError: Naming the method that gave it.
    """
    if isinstance(loader, list | tuple | dict) or hasattr(loader, "__iter__"):
        return
    if hasattr(loader, "__getitem__") and hasattr(loader, "__len__"):
        return
    raise TypeError(
        f"`{hook}` gave a {type(loader).__name__}, which is no iterable of batches; return a "
        "`DataLoader`, another iterable, or a collection of them."
    )


def loader_hook(argument: Any, datamodule: Any, module: Any, name: str) -> Callable[[], Any]:
    """What to call for the loader of a stage.

    An argument of the entry point beats the module's method; a datamodule replaces both.
    """
    if argument is not None:
        return lambda: argument
    owner = datamodule if datamodule is not None else module
    method = getattr(owner, name)
    if not callable(method):
        raise MisconfigurationException(f"`{type(owner).__name__}.{name}` must be a method.")

    def load() -> Any:
        loader = method()
        if loader is None:
            raise TypeError(
                f"`{type(owner).__name__}.{name}` returned None; return a loader, or do not "
                "define the method."
            )
        return loader

    return load
