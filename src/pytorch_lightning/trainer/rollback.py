"""Back to the last checkpoint inside of a fit, and on from there without what did harm."""

import os
from typing import TYPE_CHECKING

from pytorch_lightning.callbacks.agreement import decide_once
from pytorch_lightning.checkpoint.migrate import migrate_checkpoint
from pytorch_lightning.checkpoint.newest import in_words
from pytorch_lightning.checkpoint.peek import read_header
from pytorch_lightning.loops.agreement import Agreement
from pytorch_lightning.loops.metric_objects import is_metric
from pytorch_lightning.loops.optimize import bind_optimization
from pytorch_lightning.loops.run import Run
from pytorch_lightning.trainer.restoring import go_on, put_back
from pytorch_lightning.trainer.run_files import all_files, newest_of
from pytorch_lightning.utilities.enums import RunningStage
from pytorch_lightning.utilities.exceptions import NonFiniteError, Rollback
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl


def go_back(trainer: "pl.Trainer", run: Run, wish: Rollback) -> None:
    """Put everything back to where the last checkpoint was written, as a resume does.

    Raises:
        NonFiniteError: If there is no checkpoint to go back to.
    """
    trainer.strategy.finish_saves()
    path, passed = decide_once(trainer, lambda: _newest(trainer, run))
    if path is None:
        found = f" These cannot be used: {passed}." if passed else ""
        raise NonFiniteError(
            f"NonFinite(policy='rollback'): {wish}. There is no checkpoint of this run to go back "
            f"to.{found} Save more often, e.g. with `ModelCheckpoint(every_n_train_steps=100)`."
        ) from None
    left_out = ", ".join(map(str, wish.batches))
    rank_zero_warn(
        f"{wish}. The run goes back to {path!r}; batch {left_out} of epoch {wish.epoch} is left "
        f"out from now on.{f' Passed over: {passed}.' if passed else ''}"
    )
    _let_go(run)
    checkpoint = migrate_checkpoint(run.strategy.load_checkpoint(path), path)
    put_back(trainer, run, checkpoint, path)
    go_on(trainer, run, checkpoint)
    if run.agreement is not None:
        run.agreement = Agreement(run)
    bind_optimization(run)


def _newest(trainer: "pl.Trainer", run: Run) -> tuple[str | None, str]:
    """The newest whole file that this run wrote, or was resumed from; and what is not whole."""
    names = {path for group in all_files(trainer) for path in group}
    known = {path: read_header(path) for path in names}
    own = [path for path, header in known.items() if header is None or header.run_id == run.run_id]
    if trainer.ckpt_path is not None:
        own.append(os.fspath(trainer.ckpt_path))
    found, passed = newest_of(trainer, own, training=True)
    return (None if found is None else found.path), in_words(passed)


def _let_go(run: Run) -> None:
    """Forget what the batches since then left behind, wherever the error left the loops."""
    state, session = run.state, run.session
    session.hook = ""
    session.no_batch()
    session.untoggle()
    run.in_batch, run.before_batch, run.peers = False, None, None
    state.requests.clear()
    state.held = [0] * len(state.held)
    state.asked_to_stop = False
    run.module.zero_grad(set_to_none=True)
    for child in run.module.modules():
        if is_metric(child):
            child.reset()  # type: ignore[operator]  # torchmetrics is not imported
    run.publish.forget()
    assert run.train is not None and run.train.source is not None
    run.train.source.close()
    if run.train.reload_every:  # it may be the loader of a later epoch
        run.train.close()
        run.train.open()
    for evaluation in run.evaluation.values():
        evaluation.modes, evaluation.reading, evaluation.outputs = None, False, []
        evaluation.results.slots.clear()
        if evaluation.data is not None:
            for source in evaluation.data.sources:
                source.close()
    run.enter_stage(RunningStage.TRAINING)
