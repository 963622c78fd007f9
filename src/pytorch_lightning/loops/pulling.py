"""Steps that pull their batches themselves: `training_step(self, dataloader_iter)`."""

from collections.abc import Callable, Iterator
from typing import Any

from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.sources import NoMoreBatches
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.signatures import parameters

ARGUMENT = "dataloader_iter"
More = Callable[[], tuple[Any, int]]


class BatchIterator:
    """Yields `(batch, batch_idx, dataloader_idx)`; a batch is as the loader gave it.

    The loop has read the first batch of each step already, since it must know whether it is the
    last one; a step that wants more has them read here.
    """

    def __init__(self, more: More) -> None:
        self.more = more
        self.waiting = False
        self._batch: Any = None
        self._batch_idx = self._loader = 0

    def offer(self, batch: Any, batch_idx: int, loader: int) -> "BatchIterator":
        """Have this batch pulled first."""
        self._batch, self._batch_idx, self._loader = batch, batch_idx, loader
        self.waiting = True
        return self

    def __iter__(self) -> Iterator[tuple[Any, int, int]]:
        return self

    def __next__(self) -> tuple[Any, int, int]:
        if self.waiting:
            self.waiting = False
            batch, self._batch = self._batch, None
            return batch, self._batch_idx, self._loader
        try:
            batch, self._batch_idx = self.more()
        except StopIteration:
            raise NoMoreBatches from None
        return batch, self._batch_idx, self._loader


def pulls(module: Any, step: str) -> bool:
    """Whether a step takes the iterator.

    Raises:
        MisconfigurationException: If it asks for the index beside it, as in 1.x.
    """
    found = parameters(getattr(module, step))
    if ARGUMENT not in found:
        return False
    beside = [name for name in found if name in ("batch", "batch_idx", "dataloader_idx")]
    if beside:
        raise MisconfigurationException(
            f"`{step}(self, {', '.join(found)})`: write `{step}(self, {ARGUMENT})`; the iterator "
            f"gives `{beside[0]}` as well: `batch, batch_idx, dataloader_idx = "
            f"next({ARGUMENT})`."
        )
    return True


def pulling_step(name: str, call: Callable[..., Any], more: More) -> Callable[..., Any]:
    """A step that is called with the iterator, where loops call it with a batch.

    Args:
        more: Reads the next batch and counts it, for a step that takes several.
    """
    iterator = BatchIterator(more)

    def step(batch: Any, batch_idx: int, loader: int = 0, *rest: Any) -> Any:
        output = call(iterator.offer(batch, batch_idx, loader), *rest)
        if iterator.waiting:
            raise MisconfigurationException(
                f"`{name}({ARGUMENT})` took no batch, so that this one would be lost: call "
                f"`next({ARGUMENT})` at least once."
            )
        return output

    return step


def more_training(run: Run) -> tuple[Any, int]:
    """Read and count another training batch within a step."""
    data, state = run.train, run.state
    assert data is not None
    if run.limits.accumulate != 1:
        raise MisconfigurationException(
            f"`accumulate_grad_batches={run.limits.accumulate}` counts batches, one per step, but "
            f"`training_step({ARGUMENT})` took several: pass 1 and add them up in the step."
        )
    batch = data.next_batch()
    state.next_batch()
    run.session.new_batch(batch)
    return batch, state.batch


def end_of_data(run: Run) -> None:
    """The data ended before the batch that was to be the last, perhaps inside a step.

    The batches that such a step pulled are used.
    """
    run.session.untoggle()
    run.session.hook = ""
    run.session.no_batch()
    if run.in_batch:
        run.in_batch = False
        run.state.next_batch()


__all__ = [
    "BatchIterator",
    "NoMoreBatches",
    "end_of_data",
    "more_training",
    "pulling_step",
    "pulls",
]
