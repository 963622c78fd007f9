"""THE training loop, top to bottom.

    fit:          sanity check, on_train_start, epochs, on_train_end
    train_epoch:  on_train_epoch_start, batches, on_train_epoch_end, plateau schedulers, save
    train_batch:  transfer, on_train_batch_start,
                  optimizer_step(training_step, zero_grad, backward, clip), schedulers,
                  on_train_batch_end, logs
    after_batch:  validation if due, plateau schedulers, save

Where `state.at` is read, a resumed run enters the loop at the point where it was saved.
"""

import time
from typing import Any

from pytorch_lightning.distributed.unison import in_unison
from pytorch_lightning.loops import limits
from pytorch_lightning.loops.ending import end_run
from pytorch_lightning.loops.evaluate import evaluate, sanity_check
from pytorch_lightning.loops.marks import serve_requests
from pytorch_lightning.loops.peers import NO_DATA, meet_peers
from pytorch_lightning.loops.pulling import NoMoreBatches, end_of_data
from pytorch_lightning.loops.rewind import batch_start
from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.schedulers import step_schedulers
from pytorch_lightning.loops.state import (
    AFTER_BATCH,
    AFTER_STEP,
    AFTER_VALIDATION,
    BATCH,
    CLOSING,
    EPOCH_END,
    EPOCH_START,
    IN_VALIDATION,
)
from pytorch_lightning.utilities.exceptions import Rollback
from pytorch_lightning.utilities.rank_zero import warnings_given

_CUT = "Decide by what all ranks know, or agree: `self.trainer.strategy.reduce_boolean_decision`."
_NO_BATCH = "Give each rank a batch, and return `(loss_sum * 0, 0)` where nothing is to be learned."


def fit(run: Run) -> None:
    """Train until a limit is reached or somebody asks to stop."""
    sanity_check(run)
    data = run.train
    assert data is not None
    data.open()
    if run.limits.validates:
        run.evaluation["validation"].open(run.state)
    state = run.state
    if state.at is EPOCH_START and limits.finished(run.limits, state):
        return
    run.hooks.on_train_start()
    run.strategy.on_train_start()
    while state.at is not EPOCH_START or not limits.finished(run.limits, state):
        try:
            train_epoch(run)
        except Rollback as wish:
            if run.go_back is None:
                raise
            run.go_back(wish)
    run.hooks.on_train_end()
    run.strategy.on_train_end()
    serve_requests(run)


def train_epoch(run: Run) -> None:
    """One pass over the training data, or what is left of it after a resume."""
    state, hooks, data = run.state, run.hooks, run.train
    assert data is not None
    data.begin_epoch()
    if run.agreement is not None:
        run.peers = meet_peers(run)
    if state.requests and state.at in (BATCH, EPOCH_END):
        serve_requests(run)  # what a file that was written between two requests still owes
    if state.at is EPOCH_START:
        state.at = BATCH
        hooks.on_epoch_start()
        hooks.on_train_epoch_start()
    if state.at is AFTER_STEP:
        step_schedulers(run, plateau=False)
        state.at = AFTER_BATCH
    if state.at is AFTER_BATCH:
        publish_late(run)
    if state.at in (AFTER_BATCH, IN_VALIDATION, AFTER_VALIDATION):
        after_batch(run)
    if state.at is BATCH:
        train_batches(run)
        run.publish.end_epoch(run.publish.train)
        state.at = CLOSING
        hooks.training_epoch_end(data.outputs)
        hooks.on_train_epoch_end()
        hooks.on_epoch_end()
    if state.at is CLOSING:
        close_epoch(run)
    state.next_epoch()


def close_epoch(run: Run) -> None:
    """Plateau schedulers and metrics of an epoch, and a point to resume from."""
    run.publish.end_epoch(run.publish.train)
    step_schedulers(run, plateau=True, epoch=True)
    run.publish.close_train_epoch()
    if run.agreement is not None:
        run.agreement.meet("at the end")
    run.state.at = EPOCH_END
    serve_requests(run)
    if run.state.ending:
        end_run(run)


def publish_late(run: Run) -> None:
    """Send the values of a step to loggers, as the file was saved before they had them."""
    if run.agreement is not None:
        run.agreement.after_batch()
    run.publish.train_step()


def train_batches(run: Run) -> None:
    """All batches of an epoch, or as many as the limits leave."""
    state, data = run.state, run.train
    assert data is not None
    while not data.is_last:
        if (state.stop or run.limits.max_steps != -1) and limits.stops_here(run.limits, state):
            break
        if run.rewinds:
            run.before_batch = batch_start(run)
        try:
            train_batch(run, data.next_batch() if run.peers is None else run.peers.next_batch(data))
        except NoMoreBatches:  # the data ended where nobody expected it
            end_of_data(run)
            break
        if state.ending:
            end_run(run)
        if state.epoch_is_cut:
            break
        after_batch(run)
    if run.peers is not None:
        run.peers.forget()
    if any(state.held):  # a stop, a cut or a loader that was shorter than it said
        run.finish_window()


def train_batch(run: Run, batch: Any) -> None:
    """Forward, backward and, when it is time, an optimizer step."""
    state, hooks, session = run.state, run.hooks, run.session
    run.in_batch = True
    output = None
    if batch is None or run.avoided and is_avoided(run):
        skip_batch(run)
    elif batch is NO_DATA:
        run.idle()
    else:
        session.batch = batch = run.transfer(batch, 0)
        session.samples = None
        if hooks.on_train_batch_start(batch, state.batch) == -1:
            cut_epoch(run)
            return
        if run.strategy_starts is not None:
            run.strategy_starts(batch, state.batch)
        output = run.optimize(batch, state.batch)
    if run.peers is not None:
        settle(run)
    run.in_batch = False
    state.batch += 1
    state.batches_seen += 1
    state.at = AFTER_STEP
    if run.schedulers:
        step_schedulers(run, plateau=False)
    state.at = AFTER_BATCH
    if batch is not NO_DATA:
        hooks.on_train_batch_end(output, session.batch, state.batch - 1)
    else:
        hooks.on_idle_batch_end(None, None, state.batch - 1)
    if run.agreement is not None and run.agreement.is_due():
        run.agreement.after_batch()
    if run.publish.train.slots:
        run.publish.train_step()
    session.batch = session.samples = None


def cut_epoch(run: Run) -> None:
    """Train no more in this epoch, as `on_train_batch_start` asked for."""
    run.in_batch = False
    if run.state.several:
        in_unison(f"`on_train_batch_start` returned -1 for batch {run.state.batch}", cure=_CUT)
    run.state.epoch_is_cut = True
    step_schedulers(run, plateau=False, epoch=True)  # as documented: on a cut too


def is_avoided(run: Run) -> bool:
    """Whether the run went back to a checkpoint because of this batch of any rank."""
    return (run.state.epoch, run.state.batch) in run.avoided


def skip_batch(run: Run) -> None:
    """Count a batch that is None, as some `collate_fn` give on purpose; train on nothing.

    One that is avoided is so on all ranks, which then have nothing to exchange.
    """
    assert run.train is not None
    avoided = is_avoided(run)
    if not avoided:
        warnings_given.warn("The training loader gave None instead of a batch, which is skipped.")
    run.session.new_batch(None)
    if run.leave_out is not None and not avoided:
        run.leave_out()
        return
    if run.state.several and not avoided:
        in_unison(f"The training loader gave None as batch {run.state.batch}", cure=_NO_BATCH)
    run.advanced[:] = [False] * len(run.advanced)
    run.state.window_closed = limits.window_closes(run.limits, run.state, is_last=run.train.is_last)
    if run.state.window_closed:
        run.finish_window()


def settle(run: Run) -> None:
    """Learn whether other ranks have more data; if not, the open window ends here."""
    assert run.peers is not None and run.train is not None
    run.peers.settle(run.train)
    if run.train.is_last and any(run.state.held):
        run.finish_window()
        run.state.window_closed = True


def after_batch(run: Run) -> None:
    """What follows a batch: validation, plateau schedulers, and a point to resume from."""
    state, data = run.state, run.train
    assert data is not None
    due = (
        state.at is AFTER_BATCH
        and run.limits.validates
        and limits.validation_due(run.limits, state, is_last=data.is_last)
    )
    if due and state.window_closed:
        run.hooks.on_validation_model_zero_grad()
    if due or state.at is IN_VALIDATION:
        evaluate(run, "validation")
        state.validated_at = time.monotonic()
        state.validate_now = False
        if run.agreement is not None:
            run.agreement.meet("after the validation")
    state.at = AFTER_VALIDATION
    if run.schedulers:
        step_schedulers(run, plateau=True)
    if state.window_closed:
        state.stepped += 1
    state.at = BATCH
    if state.requests:
        serve_requests(run)
    if state.ending:
        end_run(run)
