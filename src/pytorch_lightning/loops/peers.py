"""Training streams of several ranks of which nobody knows which one ends first.

Each rank says one batch ahead whether it has another one, in a message that travels while the step
computes. A rank without data takes part in the steps of the others, with a weight of zero.
"""

from typing import Any

import torch
import torch.distributed as dist

from pytorch_lightning.data.fingerprints import sure_length
from pytorch_lightning.distributed.headers import begins
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.sources import NoMoreBatches, TrainData
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.rank_zero import warnings_given

NO_DATA = object()  # in the place of a batch, on a rank whose data has ended


class Peers:
    """Who else has a batch.

    Args:
        has_more: This rank had not come to the end of its data when an epoch that is resumed was
            saved.

    Attributes:
        count: How many ranks have the batch that is about to run, or is running.
    """

    def __init__(self, run: Run, *, has_more: bool) -> None:
        self.run = run
        self.group = run.strategy.control_group
        self.world = run.strategy.world_size
        self.count = self.world
        self._following: int | None = None  # as many have the batch after that
        self._said: tuple[Any, torch.Tensor] | None = None
        self._first: list[Any] = []
        self._has = has_more
        self._repeats = run.strategy.forward_communicates
        self._last: Any = None

    def next_batch(self, data: TrainData) -> Any:
        """The next batch of this rank, or `NO_DATA`.

        Raises:
            NoMoreBatches: If no rank has any.
        """
        if self._following is None:
            self._look(data)
        assert self._following is not None
        self.count = self._following
        if self.count == 0:
            raise NoMoreBatches
        batch = self._take(data) if self._has else NO_DATA
        if self._repeats and self._has:
            self._last = batch
        self._has = self._has and not data.is_last
        data.is_last = False  # for this rank; the others may go on
        self._announce()
        return batch

    def last_batch(self) -> Any:
        """A batch for a step whose result does not count, where each forward waits for all.

        Raises:
            DataError: If this rank never had one.
        """
        if self._last is None:
            raise DataError(
                f"Rank {self.run.strategy.global_rank} has no training data at all, and with "
                f"{type(self.run.strategy).__name__} every rank takes part in each step: give "
                "every rank at least one batch."
            )
        return self._last

    def _look(self, data: TrainData) -> None:
        """Whether there is a first batch, which only reading it tells."""
        if self._has:
            try:
                self._first = [data.next_batch()]
            except NoMoreBatches:
                self._has = False
        self._announce()
        self._wait()

    def _take(self, data: TrainData) -> Any:
        if self._first:
            return self._first.pop()
        try:
            return data.next_batch()
        except NoMoreBatches:
            raise DataError(
                f"The training loader of rank {self.run.strategy.global_rank} ended before its "
                "announced length, while other ranks wait for its batch: give the data set the "
                "length that it has, or none."
            ) from None

    def _announce(self) -> None:
        flag = torch.tensor([int(self._has)], dtype=torch.int32)
        begins("whether others have more batches", self.group)
        self._said = dist.all_reduce(flag, group=self.group, async_op=True), flag

    def _wait(self) -> None:
        assert self._said is not None
        work, flag = self._said
        work.wait()
        following, self._said = int(flag), None
        if following < self.world and not self.run.module.automatic_optimization:
            if following:
                _say_cut()
            following = 0
        self._following = following

    def settle(self, data: TrainData) -> None:
        """After a step: was it the last one?"""
        self._wait()
        assert self._following is not None
        data.is_last = self._following == 0

    def forget(self) -> None:
        """A pass is left before its end: nobody waits for the flag that is under way."""
        if self._said is not None:
            self._wait()


def _say_cut() -> None:
    warnings_given.warn(
        "With manual optimization the epoch ends for all ranks with the first one that has no more "
        "data; the batches that others have left are not trained. Give all ranks the same number: "
        "`limit_train_batches=...`."
    )


def meet_peers(run: Run) -> Peers | None:
    """See, as an epoch begins, whether ranks may run out of data at different batches."""
    data = run.train
    assert data is not None
    assert data.source is not None
    lengths = data.lengths  # not told where all ranks read the same part
    lengths = lengths or run.strategy.gather_objects(sure_length(data.source))
    if len(set(lengths)) == 1 and lengths[0] < float("inf"):
        return None
    run.limits.num_batches = max(lengths)  # all validate where the longest stream ends
    data.measured(data)
    has_more = not data.is_last
    data.is_last = all(run.strategy.gather_objects(data.is_last))  # the others may go on
    return Peers(run, has_more=has_more)
