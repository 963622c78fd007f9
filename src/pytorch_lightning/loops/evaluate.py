"""Validation and test, top to bottom.

evaluate:  on_*_model_eval, on_*_start, on_*_epoch_start,
           for each loader, each batch: transfer, on_*_batch_start, *_step, on_*_batch_end
           on_*_epoch_end, on_*_end, train flags as before, epoch metrics to loggers
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from pytorch_lightning.loops.ending import Meetings, end_run
from pytorch_lightning.loops.metric_objects import States, put_aside, restore_metrics
from pytorch_lightning.loops.publish import Board
from pytorch_lightning.loops.pulling import NoMoreBatches
from pytorch_lightning.loops.ragged import LastRound
from pytorch_lightning.loops.results import Results
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.signature import bind_evaluation_step
from pytorch_lightning.loops.sources import EvalData
from pytorch_lightning.loops.state import Mark, State
from pytorch_lightning.loops.transfer import Transfer, bind_transfer
from pytorch_lightning.utilities.data import extract_batch_size
from pytorch_lightning.utilities.enums import RunningStage
from pytorch_lightning.utilities.seed import capture_rng, isolate_rng


class Evaluation:
    """One evaluation stage of a run: its data, its results, and the names of its hooks.

    Args:
        stage: 'validation' or 'test'.
        load: Asks for the loaders.
        no_gradients: Makes the context in which it runs.
    """

    def __init__(
        self,
        stage: str,
        *,
        load: Callable[[], EvalData],
        no_gradients: Callable[[], AbstractContextManager[Any]] = torch.no_grad,
        reload_every: int = 0,
    ) -> None:
        self.stage = stage
        self.load = load
        self.no_gradients = no_gradients
        self.reload_every = reload_every
        self.loaded_in = 0  # epoch
        self.results = Results(training=False)
        self.data: EvalData | None = None
        # Train flags to restore, while it runs; no dictionary, as hashes of metric objects change.
        self.modes: list[tuple[nn.Module, bool]] | None = None
        self.positions: list[Any] | None = None  # of the loaders, to seek after a resume
        self.reading = False  # has a pass over a loader begun?
        self.before_batch: tuple[dict[str, Any], list[Any]] | None = None  # where one may run again
        self.aside: States = {}  # what metric objects hold of training, while this runs
        self.metrics: States = {}  # what they go on from after a resume
        self.outputs: list[list[Any]] = []
        self.step: Callable[[Any, int, int], Any] | None = None
        self.transfer: Transfer = lambda batch, loader: batch

    def open(self, state: State) -> EvalData:
        """Ask for the loaders, the first time and whenever those of training were asked for."""
        if self.data is None or (self.reload_every and state.last_reload > self.loaded_in):
            if self.data is not None:
                self.data.close()
            self.data = self.load()
            self.loaded_in = state.epoch
            self.step = None
        return self.data

    def collected(self) -> list[Any]:
        """What 1.x gives to `*_epoch_end`: a list, or one list per loader."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs


def evaluate(run: Run, stage: str) -> None:
    """Run the validation or test loop once, or what is left of it after a resume."""
    this, state, hooks = run.evaluation[stage], run.state, run.hooks
    data = this.open(state)
    if this.step is None:
        more = partial(_one_more, run, this)
        this.step = bind_evaluation_step(run, f"{stage}_step", len(data.sources), more)
        this.transfer = bind_transfer(run, f"{stage}_step")
    within_fit = run.train is not None and not state.sanity_checking
    if within_fit:
        run.enter_stage(RunningStage.VALIDATING)
    with _entered(run, this), _modes(run, this), this.no_gradients():
        if state.at is not Mark.IN_VALIDATION:
            state.val_loader, state.val_batch = -1, 0
            state.at = Mark.IN_VALIDATION
            getattr(hooks, f"on_{stage}_start")()
            getattr(run.strategy, f"on_{stage}_start")()
        if state.val_loader == -1:
            state.val_loader = 0
            hooks.on_epoch_start()
            getattr(hooks, f"on_{stage}_epoch_start")()
        _all_loaders(run, this, data)
        _all_ends(run, this, len(data.sources))
    if not state.sanity_checking:
        run.publish.close_epoch(this.results, x=state.stepped)
    this.results.reset()
    if within_fit:
        run.enter_stage(RunningStage.TRAINING)


def _all_loaders(run: Run, this: Evaluation, data: EvalData) -> None:
    """The loaders one after the other, from where the state says."""
    state, session = run.state, run.session
    count = len(data.sources)
    seen = state.seen(this.stage, count)
    collects = f"{this.stage}_epoch_end" in run.hooks.heard
    if not this.outputs or state.val_batch == 0 == state.val_loader:
        this.outputs = [[] for _ in range(count)]
    while state.val_loader < count:
        loader = state.val_loader
        source = data.sources[loader]
        positions, this.positions = this.positions, None
        if positions is not None:
            source.seek(positions[loader])
        else:
            source.begin(state.epoch)
        this.reading = True
        session.loader = loader if count > 1 else None
        _batches(run, this, source, collect=this.outputs[loader] if collects else None)
        session.loader = None
        if count > 1:
            run.publish.close_loader(this.results, loader)
        seen[loader] += state.val_batch
        state.val_loader, state.val_batch = loader + 1, 0


def _batches(run: Run, this: Evaluation, source: Any, *, collect: list[Any] | None) -> None:
    """The batches of one loader; where the time of an evaluation goes."""
    state, session, transfer, results = run.state, run.session, this.transfer, this.results
    loader, step = state.val_loader, this.step
    assert step is not None
    name = f"{this.stage}_step"
    x = state.seen(this.stage, loader + 1)[loader]
    batch_start = getattr(run.hooks, f"on_{this.stage}_batch_start")
    batch_end = getattr(run.hooks, f"on_{this.stage}_batch_end")
    session.count_samples, before = counter(source), session.count_samples
    batches, last_round = source, None
    meets = Meetings.of(run, name, source, state.val_batch)
    if source.may_be_ragged:
        assert this.data is not None
        last_round = LastRound(run, name, source, this.data.parts[loader])
        batches, step = last_round.batches(), last_round.watched(name, step)
        batch_start = last_round.watched(f"on_{this.stage}_batch_start", batch_start)
        batch_end = last_round.watched(f"on_{this.stage}_batch_end", batch_end)
    if state.val_batch and results.has_steps:  # resumed: saved before loggers had the values
        run.publish.evaluation_step(results, x=x + state.val_batch - 1)
    for batch in _rewindable(batches, run, this) if run.rewinds else batches:
        batch_idx = state.val_batch
        batch = transfer(batch, loader)
        session.new_batch(batch)
        batch_start(batch, batch_idx, loader)
        session.hook = name
        try:
            output = step(batch, batch_idx, loader)
        except NoMoreBatches:
            session.hook = ""
            break
        session.hook = ""
        batch_idx = state.val_batch
        state.val_batch = batch_idx + 1  # a checkpoint from here on goes on with the next one
        batch_end(output, session.batch, batch_idx, loader)
        if results.has_steps and not state.sanity_checking:
            run.publish.evaluation_step(results, x=x + batch_idx)
        if collect is not None:
            collect.append(output)
        session.batch = output = batch = None  # they end with their step
        if meets is not None and state.val_batch >= meets.at:
            meets.meet(state.val_batch)
        if state.ending:
            end_run(run)
    if last_round is not None:
        last_round.take_part(step, transfer, loader)
    session.no_batch()
    session.count_samples = before


def _rewindable(source: Any, run: Run, this: Evaluation) -> Iterator[Any]:
    """Batches that can run again, as a file may be saved before their step is over."""
    while True:
        this.before_batch = (capture_rng(), this.results.state_dict(run.module))
        try:
            batch = next(source)
        except StopIteration:
            return
        yield batch
        del batch


def _one_more(run: Run, this: Evaluation) -> tuple[Any, int]:
    """Read and count another batch within a step that pulls its batches itself."""
    state = run.state
    assert this.data is not None
    batch = next(this.data.sources[state.val_loader])
    state.val_batch += 1
    run.session.new_batch(batch)
    return batch, state.val_batch


def _all_ends(run: Run, this: Evaluation, count: int) -> None:
    """The hooks at the end; the state moves on before each, so that none is called twice."""
    state, hooks, stage = run.state, run.hooks, this.stage
    this.reading = False
    if state.val_loader == count:
        state.val_loader = count + 1
        run.publish.end_epoch(this.results)
        getattr(hooks, f"{stage}_epoch_end")(this.collected())
        getattr(hooks, f"on_{stage}_epoch_end")()
        hooks.on_epoch_end()
    this.outputs = []
    run.publish.finalize(this.results)
    if state.val_loader == count + 1:
        state.val_loader = count + 2
        getattr(hooks, f"on_{stage}_end")()
        getattr(run.strategy, f"on_{stage}_end")()


def counter(source: Any) -> Callable[[Any], float]:
    """How many samples a batch holds: what the loader collated, else a guess from the tensors."""

    def count(batch: Any) -> float:
        known = source.num_samples
        return known if known is not None else extract_batch_size(batch)

    return count


@contextmanager
def _entered(run: Run, this: Evaluation) -> Iterator[None]:
    """Logged values go to this stage; metric objects of the module serve it alone."""
    before = run.session.enter(this.results)
    run.publish.open.append(this.results)
    try:
        if run.train is not None:
            run.publish.fold()  # metric objects of training cannot be asked in the meantime
            with put_aside(run.module) as this.aside:
                restore_metrics(run.module, this.metrics)
                this.metrics = {}
                yield
            this.aside = {}
        else:
            yield
    finally:
        run.publish.open.remove(this.results)
        run.session.enter(before)


@contextmanager
def _modes(run: Run, this: Evaluation) -> Iterator[None]:
    """Eval mode for the while, then each module as it was; or what the module's hooks say."""
    hooks, module = run.hooks, run.module
    this.modes = [(child, child.training) for child in module.modules()]
    if f"on_{this.stage}_model_eval" in hooks.heard:
        getattr(hooks, f"on_{this.stage}_model_eval")()
    else:
        module.eval()
    yield
    for child, training in this.modes:
        child.training = training
    this.modes = None
    if f"on_{this.stage}_model_train" in hooks.heard:
        getattr(hooks, f"on_{this.stage}_model_train")()


def sanity_check(run: Run) -> None:
    """A few validation batches before training: no trace in results, logs or random state."""
    this = run.evaluation.get("validation")
    counts = run.limits.sanity_batches
    if this is None or not counts or run.resumed or run.train is None:
        return
    state, publish = run.state, run.publish
    saved, board = State(), publish.board
    saved.load_state_dict(state.state_dict())
    state.sanity_checking = True
    run.enter_stage(RunningStage.SANITY_CHECKING)
    publish.board = Board()
    with isolate_rng():
        run.hooks.on_sanity_check_start()
        data = this.open(state)
        rounds = list(data.rounds)
        data.limit_to([min(counts, most) for most in rounds])
        has_data = any(min(counts, most) for most in rounds)
        if run.strategy.reduce_boolean_decision(has_data, all=False):
            evaluate(run, "validation")
        data.limit_to(rounds)
        run.hooks.on_sanity_check_end()
    state.load_state_dict(saved.state_dict())
    state.sanity_checking = False
    run.enter_stage(RunningStage.TRAINING)
    state.requests.clear()
    publish.board = board
    this.results.slots.clear()
