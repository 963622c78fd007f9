"""Prediction, top to bottom.

predict:  on_predict_model_eval, on_predict_start, on_predict_epoch_start,
          for each loader, each batch: transfer, on_predict_batch_start, predict_step,
          on_predict_batch_end
          on_predict_epoch_end, on_predict_end
"""

import copy
import pickle
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch.utils.data import BatchSampler, DataLoader

from pytorch_lightning.loops.ending import Meetings, end_run
from pytorch_lightning.loops.pulling import NoMoreBatches
from pytorch_lightning.loops.ragged import LastRound
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.signature import bind_evaluation_step
from pytorch_lightning.loops.sources import EvalData
from pytorch_lightning.loops.transfer import Transfer, bind_transfer
from pytorch_lightning.utilities.exceptions import DataError
from pytorch_lightning.utilities.tree import detach


class Prediction:
    """The prediction stage of a run, and what it found.

    Attributes:
        outputs: Per loader, what `predict_step` returned, on the CPU.
        indices: Per loader, the sample indices of each batch, where the loader knows them.
        current: The sample indices of the running batch.
        gathered: The outputs of all ranks in the order of the data, where there are several.
    """

    def __init__(
        self,
        *,
        load: Callable[[], EvalData],
        no_gradients: Callable[[], AbstractContextManager[Any]] = torch.inference_mode,
        keep: bool = True,
        collect: bool = False,
        gather: Callable[[Any], list[Any]] | None = None,
    ) -> None:
        self.load = load
        self.no_gradients = no_gradients
        self.keep = keep
        self.collects = keep or collect
        self.gather = gather
        self.gathered: list[list[Any]] | None = None
        self.data: EvalData | None = None
        self.outputs: list[list[Any]] = []
        self.indices: list[list[Any]] = []
        self.current: list[Any] | None = None
        self.loader = self.batch = 0  # indices of what is running
        self.transfer: Transfer = lambda batch, loader: batch

    def found(self) -> list[Any] | None:
        """A list of batches; one such list per loader when there are several."""
        if not self.keep:
            return None
        outputs = self.outputs if self.gathered is None else self.gathered
        return outputs[0] if len(outputs) == 1 else outputs

    def collected(self) -> list[Any]:
        """The same of this rank alone, also when only a callback wants it."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    def share(self) -> None:
        """Give all ranks the outputs of all; loaders that were not dealt keep their own."""
        assert self.data is not None and self.gather is not None
        dealt = [source.may_be_ragged for source in self.data.sources]
        mine = [outputs if d else None for outputs, d in zip(self.outputs, dealt, strict=True)]
        told = self._told({"rank": self.data.ranks.rank, "outputs": mine})
        parts = {one["rank"]: one["outputs"] for one in told}
        self.gathered = [
            _in_turn([parts[rank][loader] for rank in sorted(parts)]) if dealt[loader] else own
            for loader, own in enumerate(self.outputs)
        ]

    def _told(self, mine: dict[str, Any]) -> list[dict[str, Any]]:
        assert self.gather is not None
        try:
            return self.gather(mine)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise DataError(
                f"What `predict_step` returned cannot be given to the other ranks: {error}. Return "
                "tensors and plain data, or pass `return_predictions=False` and write them with a "
                "`BasePredictionWriter`."
            ) from error


def predict(run: Run) -> None:
    """Run the prediction loop once."""
    this, hooks = run.prediction, run.hooks
    assert this is not None
    data = this.data = this.load()
    more = partial(_one_more, run, this)
    step = bind_evaluation_step(run, "predict_step", len(data.sources), more)
    this.transfer = bind_transfer(run, "predict_step")
    this.outputs = [[] for _ in data.sources]
    this.indices = [[] for _ in data.sources]
    modes = {child: child.training for child in run.module.modules()}
    if "on_predict_model_eval" in hooks.heard:
        hooks.on_predict_model_eval()
    else:
        run.module.eval()
    with this.no_gradients():
        hooks.on_predict_start()
        run.strategy.on_predict_start()
        hooks.on_predict_epoch_start()
        for loader, source in enumerate(data.sources):
            source.begin(run.state.epoch)
            _batches(run, this, step, loader)
        hooks.on_predict_epoch_end(this.outputs)
        hooks.on_predict_end()
        run.strategy.on_predict_end()
        if this.keep and this.gather is not None and data.ranks.world > 1:
            this.share()
    for child, training in modes.items():
        child.training = training


def _batches(run: Run, this: Prediction, step: Callable[[Any, int, int], Any], loader: int) -> None:
    """The batches of one loader."""
    assert this.data is not None
    source, session, transfer = this.data.sources[loader], run.session, this.transfer
    outputs, indices = this.outputs[loader], this.indices[loader]
    batch_start, batch_end = run.hooks.on_predict_batch_start, run.hooks.on_predict_batch_end
    wants_indices = bool(run.hooks.heard & {"on_predict_batch_end", "on_predict_epoch_end"})
    this.loader, this.batch = loader, 0
    batches, last_round = iter(source), None
    meets = Meetings.of(run, "predict_step", source, 0)
    if source.may_be_ragged:
        last_round = LastRound(run, "predict_step", source, this.data.parts[loader])
        batches, step = last_round.batches(), last_round.watched("predict_step", step)
        batch_start = last_round.watched("on_predict_batch_start", batch_start)
        batch_end = last_round.watched("on_predict_batch_end", batch_end)
    for batch in batches:
        if wants_indices:
            this.current = source.sample_ids
        batch = transfer(batch, loader)
        session.new_batch(batch)
        batch_start(batch, this.batch, loader)
        session.hook = "predict_step"
        try:
            output = step(batch, this.batch, loader)
        except NoMoreBatches:
            session.hook = ""
            break
        session.hook = ""
        batch_end(output, session.batch, this.batch, loader)
        if this.collects:
            outputs.append(detach(output, to_cpu=True))
        if wants_indices:
            indices.append(this.current)
        session.batch = output = batch = None  # they end with their step
        this.batch += 1
        if meets is not None and this.batch >= meets.at:
            meets.meet(this.batch)
        if run.state.ending:
            end_run(run)
    if last_round is not None:
        last_round.take_part(step, transfer, loader)
    session.no_batch()


def _in_turn(parts: list[list[Any]]) -> list[Any]:
    """Batches of all ranks in the order of the loader: number j was dealt to rank j mod world."""
    return [
        batch
        for each in zip_longest(*parts, fillvalue=_NONE)
        for batch in each
        if batch is not _NONE
    ]


_NONE = object()  # in the place of a batch; predictions may be None


def _one_more(run: Run, this: Prediction) -> tuple[Any, int]:
    """Read and count another batch within a step that pulls its batches itself."""
    assert this.data is not None
    batch = next(this.data.sources[this.loader])
    this.batch += 1
    run.session.new_batch(batch)
    return batch, this.batch


def keep_last_batch(loader: Any) -> Any:
    """A loader that predicts every sample: as given, but that `drop_last` is off."""
    if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
        return loader
    batches = loader.batch_sampler
    if not batches.drop_last:
        return loader
    complete = copy.copy(loader)
    complete.__dict__["batch_sampler"] = BatchSampler(batches.sampler, batches.batch_size, False)
    complete.__dict__["drop_last"] = False
    return complete
