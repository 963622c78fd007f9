"""State under the names of earlier releases: `trainer.fit_loop.epoch_progress` and so on."""

import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loops.sources import EvalData

if TYPE_CHECKING:
    import pytorch_lightning as pl


def whole(count: float) -> int | float:
    """A number of batches as an int, unless it is infinite."""
    return count if math.isinf(count) else int(count)


def _counts(done: int, started: int | None = None) -> SimpleNamespace:
    begun = done if started is None else started
    counts = SimpleNamespace(ready=begun, started=begun, processed=done, completed=done)
    return SimpleNamespace(total=counts, current=counts)


class FitLoopView:
    """The training loop as 1.x and 2.x show it; limits can be written."""

    def __init__(self, trainer: "pl.Trainer") -> None:
        self._trainer = trainer
        self.epoch_loop = EpochLoopView(trainer)

    @property
    def max_epochs(self) -> int | None:
        """The limit of epochs."""
        return self._trainer._limits.max_epochs

    @max_epochs.setter
    def max_epochs(self, max_epochs: int | None) -> None:
        self._trainer._limits.max_epochs = max_epochs

    @property
    def min_epochs(self) -> int | None:
        """The minimum of epochs."""
        return self._trainer._limits.min_epochs

    @min_epochs.setter
    def min_epochs(self, min_epochs: int | None) -> None:
        self._trainer._limits.min_epochs = min_epochs

    @property
    def max_steps(self) -> int:
        """The limit of optimizer steps."""
        return self._trainer._limits.max_steps

    @max_steps.setter
    def max_steps(self, max_steps: int) -> None:
        self._trainer._limits.max_steps = max_steps

    @property
    def min_steps(self) -> int | None:
        """The minimum of optimizer steps."""
        return self._trainer._limits.min_steps

    @property
    def epoch_progress(self) -> SimpleNamespace:
        """Epochs that began and ended."""
        state = self._trainer._progress
        return _counts(state.epoch, state.epoch + (state.at.value != "epoch_start"))

    @property
    def batch_idx(self) -> int:
        """Index of the running batch; -1 before the first."""
        return self.epoch_loop.batch_idx

    @property
    def total_batch_idx(self) -> int:
        """Index of the running batch over the whole run."""
        return self.epoch_loop.total_batch_idx

    @property
    def max_batches(self) -> int | float:
        """Batches per epoch."""
        return self._trainer.num_training_batches

    @property
    def done(self) -> bool:
        """Whether a limit is reached."""
        trainer = self._trainer
        return trainer.max_epochs not in (None, -1) and trainer.current_epoch >= trainer.max_epochs


class EpochLoopView:
    """One epoch of training as 1.x and 2.x show it."""

    def __init__(self, trainer: "pl.Trainer") -> None:
        self._trainer = trainer
        self.val_loop = EvaluationView(trainer, "validation")

    @property
    def _batches_that_stepped(self) -> int:
        return self._trainer._progress.stepped

    @_batches_that_stepped.setter
    def _batches_that_stepped(self, count: int) -> None:
        self._trainer._progress.stepped = count

    @property
    def batch_idx(self) -> int:
        """Index of the running batch, or of the last one; -1 before the first."""
        run, state = self._trainer._run, self._trainer._progress
        return state.batch if run is not None and run.in_batch else state.batch - 1

    @property
    def total_batch_idx(self) -> int:
        """Index of the running batch over the whole run."""
        run, state = self._trainer._run, self._trainer._progress
        return state.batches_seen if run is not None and run.in_batch else state.batches_seen - 1

    @property
    def max_steps(self) -> int:
        """The limit of optimizer steps."""
        return self._trainer._limits.max_steps

    @max_steps.setter
    def max_steps(self, max_steps: int) -> None:
        self._trainer._limits.max_steps = max_steps

    @property
    def min_steps(self) -> int | None:
        """The minimum of optimizer steps."""
        return self._trainer._limits.min_steps

    @min_steps.setter
    def min_steps(self, min_steps: int | None) -> None:
        self._trainer._limits.min_steps = min_steps

    @property
    def global_step(self) -> int:
        """Optimizer steps so far."""
        return self._trainer.global_step

    @property
    def batch_progress(self) -> SimpleNamespace:
        """Batches that ran."""
        state = self._trainer._progress
        view = _counts(state.batch)
        view.total = _counts(state.batches_seen).total
        view.is_last_batch = self._trainer.is_last_batch
        return view


class EvaluationView:
    """A validation or test loop as 1.x and 2.x show it."""

    def __init__(self, trainer: "pl.Trainer", stage: str) -> None:
        self._trainer = trainer
        self._stage = stage

    @property
    def num_dataloaders(self) -> int:
        """How many loaders there are."""
        return len(self.max_batches)

    @property
    def max_batches(self) -> list[int | float]:
        """Batches per loader."""
        data = self._data
        return [whole(length) for length in data.lengths] if data is not None else []

    @property
    def loaders(self) -> Any:
        """The loaders as they were given."""
        return self._data.loader if self._data is not None else None

    @property
    def _data(self) -> EvalData | None:
        for run in (self._trainer._run, self._trainer._fit_run):
            if run is not None and self._stage in run.evaluation:
                return run.evaluation[self._stage].data
        return None


class PredictView:
    """The prediction loop as 1.x and 2.x show it."""

    def __init__(self, trainer: "pl.Trainer") -> None:
        self._trainer = trainer

    @property
    def _prediction(self) -> Any:
        run = self._trainer._run
        return run.prediction if run is not None else None

    @property
    def predictions(self) -> list[Any]:
        """What was predicted; per loader where there are several."""
        return self._prediction.collected() if self._prediction is not None else []

    @property
    def epoch_batch_indices(self) -> list[list[Any]]:
        """Per loader, the sample indices of each batch."""
        return self._prediction.indices if self._prediction is not None else []

    @property
    def current_batch_indices(self) -> list[Any]:
        """The sample indices of the running batch."""
        return (self._prediction.current if self._prediction is not None else None) or []

    @property
    def return_predictions(self) -> bool:
        """Whether predictions are kept."""
        return self._prediction.keep if self._prediction is not None else False

    @property
    def num_dataloaders(self) -> int:
        """How many loaders there are."""
        return len(self.max_batches)

    @property
    def max_batches(self) -> list[int | float]:
        """Batches per loader."""
        return self._trainer.num_predict_batches
