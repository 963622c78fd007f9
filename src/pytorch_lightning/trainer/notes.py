"""Where an error happened, as a note on the error."""

from typing import Any

from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import Mark
from pytorch_lightning.trainer.out_of_memory import memory_report
from pytorch_lightning.utilities.exceptions import attach_note
from pytorch_lightning.utilities.tree import shapes_in

_MOST_SHAPES = 4


def add_note(run: Run, error: BaseException) -> None:
    """Say in which hook, epoch and batch an error was raised; and where the memory went."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    if report := memory_report(run, error):
        attach_note(error, report)
    hook, state = run.session.where(error), run.state
    if not hook and not _reads(run):
        return
    place = f"in `{hook}`" if hook else "between hooks"
    if not hook and run.in_batch:  # no hook is set where nobody overrides one
        hook = place = "in the optimization"
    where = [place, f"epoch {state.epoch}", f"batch {_batch(run, hook)}"]
    if hook and (shapes := shapes_in(run.session.batch, at_most=_MOST_SHAPES)):
        where.append(f"batch shapes {shapes}")
    attach_note(error, ", ".join(where))


def _reads(run: Run) -> bool:
    """Whether the loops are on their way, so that there is a batch to name."""
    opened: list[Any] = [evaluation.data for evaluation in run.evaluation.values()]
    opened.append(run.prediction.data if run.prediction is not None else None)
    opened.append(run.train.source if run.train is not None else None)
    return any(data is not None for data in opened)


def _batch(run: Run, hook: str) -> int:
    """The batch that runs, or that has just run; counters are ahead of what follows a step."""
    state = run.state
    if run.prediction is not None:
        return run.prediction.batch
    if state.at is Mark.IN_VALIDATION:
        return state.val_batch - hook.endswith("_batch_end")
    return state.batch - (state.at in (Mark.AFTER_STEP, Mark.AFTER_BATCH))
