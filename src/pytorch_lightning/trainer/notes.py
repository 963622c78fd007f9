"""Where an error happened, as a note on the error."""

import sys
from typing import Any

from torch import Tensor

from pytorch_lightning.loops.run import Run
from pytorch_lightning.loops.state import Mark
from pytorch_lightning.trainer.out_of_memory import memory_report
from pytorch_lightning.utilities.tree import leaves

_MOST_SHAPES = 4


def add_note(run: Run, error: BaseException) -> None:
    """Say in which hook, epoch and batch an error was raised; and where the memory went."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return
    if report := memory_report(run, error):
        _attach(error, report)
    hook, state = run.session.where(error), run.state
    if not hook and not _reads(run):
        return
    place = f"in `{hook}`" if hook else "between hooks"
    if not hook and run.in_batch:  # no hook is set where nobody overrides one
        hook = place = "in the optimization"
    where = [place, f"epoch {state.epoch}", f"batch {_batch(run, hook)}"]
    if hook and (shapes := _shapes(run.session.batch)):
        where.append(f"batch shapes {shapes}")
    _attach(error, ", ".join(where))


def _attach(error: BaseException, note: str) -> None:
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        error.__dict__.setdefault("__notes__", []).append(note)


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


def _shapes(batch: Any) -> str:
    tensors = [leaf for leaf in leaves(batch) if isinstance(leaf, Tensor)]
    shown = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors]
    more = ", ..." if len(shown) > _MOST_SHAPES else ""
    return ", ".join(shown[:_MOST_SHAPES]) + more
