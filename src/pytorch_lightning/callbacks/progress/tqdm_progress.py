"""Progress bars drawn by tqdm, in a terminal or a notebook."""

import math
import sys
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.progress.evaluation import note_batch_end, note_batch_start
from pytorch_lightning.callbacks.progress.never_fatal import never_fatal
from pytorch_lightning.callbacks.progress.pace import Pace
from pytorch_lightning.callbacks.progress.progress_bar import ProgressBar
from pytorch_lightning.callbacks.progress.tqdm_bar import Slot, Tqdm
from pytorch_lightning.utilities.environ import read_flag, read_int

if TYPE_CHECKING:
    import pytorch_lightning as pl


class TQDMProgressBar(ProgressBar):
    """One bar for training, a second below it while validation goes on.

    Args:
        refresh_rate: Draw after so many batches, at most ten times a second; 0 draws nothing.
        process_position: How many bars of other processes stand above this one.
        leave: Keep the bar of every epoch on the screen.

    Example:
        >>> class Bar(TQDMProgressBar):
        ...     def init_validation_tqdm(self):
        ...         bar = super().init_validation_tqdm()
        ...         bar.set_description("running validation ...")
        ...         return bar
    """

    BAR_FORMAT = (
        "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
    )

    train_progress_bar = Slot("_train_progress_bar")
    val_progress_bar = Slot("_val_progress_bar")
    test_progress_bar = Slot("_test_progress_bar")
    predict_progress_bar = Slot("_predict_progress_bar")
    main_progress_bar = Slot("_train_progress_bar")
    sanity_progress_bar = Slot("_val_progress_bar")

    on_validation_batch_start = note_batch_start
    on_test_batch_start = note_batch_start
    on_predict_batch_start = note_batch_start
    on_validation_batch_end = note_batch_end
    on_test_batch_end = note_batch_end
    on_predict_batch_end = note_batch_end

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, leave: bool = False):
        super().__init__()
        self._refresh_rate = _resolve_refresh_rate(refresh_rate)
        self._process_position = process_position
        self._leave = leave
        self._train_pace = Pace(self._refresh_rate)
        self._eval_pace = Pace(self._refresh_rate)
        self._trained = 0
        self._open: list[Tqdm] = []

    @property
    def refresh_rate(self) -> int:
        """After how many batches a bar is drawn."""
        return self._refresh_rate

    @property
    def process_position(self) -> int:
        """How many bars of other processes stand above."""
        return self._process_position

    @property
    def is_enabled(self) -> bool:
        """Is anything drawn?"""
        return self._enabled and self._refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Is nothing drawn?"""
        return not self.is_enabled

    def disable(self) -> None:
        """Draw nothing from now on."""
        super().disable()
        self._train_pace.stop()
        self._eval_pace.stop()

    def init_sanity_tqdm(self) -> Tqdm:
        """Make the bar of the sanity check."""
        return self._new(self.sanity_check_description, leave=False)

    def init_train_tqdm(self) -> Tqdm:
        """Make the bar of training."""
        return self._new(self.train_description, leave=True)

    def init_validation_tqdm(self) -> Tqdm:
        """Make the bar of validation, below that of training where there is one."""
        fitting = self._trainer is not None and self._trainer.state.fn == "fit"
        return self._new(self.validation_description, leave=not fitting, below=fitting)

    def init_test_tqdm(self) -> Tqdm:
        """Make the bar of testing."""
        return self._new(self.test_description, leave=True)

    def init_predict_tqdm(self) -> Tqdm:
        """Make the bar of prediction."""
        return self._new(self.predict_description, leave=True)

    def print(self, *args: Any, sep: str = " ", **kwargs: Any) -> None:
        """Print above the bars."""
        if not self._open or self.is_disabled:
            print(*args, sep=sep, **kwargs)
            return
        end, file = kwargs.get("end", "\n"), kwargs.get("file")
        Tqdm.write(sep.join(map(str, args)), end="\n" if end is None else end, file=file)

    @never_fatal
    def on_sanity_check_start(self, *_: Any) -> None:
        self.val_progress_bar = self._opened(self.init_sanity_tqdm())

    @never_fatal
    def on_sanity_check_end(self, *_: Any) -> None:
        self._close(self.val_progress_bar)

    @never_fatal
    def on_train_start(self, *_: Any) -> None:
        self.train_progress_bar = self._opened(self.init_train_tqdm())

    @never_fatal
    def on_train_epoch_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        if self._leave and self._trained:
            self._close(self.train_progress_bar)
            self.train_progress_bar = self._opened(self.init_train_tqdm())
        self._trained = 0
        description = f"Epoch {trainer.current_epoch}"
        self._begin(
            self.train_progress_bar, self._train_pace, description, self.total_train_batches
        )

    def on_train_batch_end(
        self,
        trainer: "pl.Trainer",
        pl_module: "pl.LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._trained = batch_idx + 1
        if batch_idx >= self._train_pace.next:
            self._look_at_training(trainer, pl_module)

    @never_fatal
    def on_train_epoch_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self._draw_training(trainer, pl_module)

    @never_fatal
    def on_train_end(self, *_: Any) -> None:
        self._close(self.train_progress_bar)

    @never_fatal
    def on_validation_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "fit":
            self._draw_training(trainer, pl_module)
        self.val_progress_bar = self._opened(self.init_validation_tqdm())

    @never_fatal
    def on_validation_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self.reset_dataloader_idx_tracker()
        if trainer.sanity_checking:
            return
        self._close(self.val_progress_bar)
        if trainer.state.fn == "fit":
            self._draw_training(trainer, pl_module)

    @never_fatal
    def on_test_start(self, *_: Any) -> None:
        self.test_progress_bar = self._opened(self.init_test_tqdm())

    @never_fatal
    def on_test_end(self, *_: Any) -> None:
        self.reset_dataloader_idx_tracker()
        self._close(self.test_progress_bar)

    @never_fatal
    def on_predict_start(self, *_: Any) -> None:
        self.predict_progress_bar = self._opened(self.init_predict_tqdm())

    @never_fatal
    def on_predict_end(self, *_: Any) -> None:
        self.reset_dataloader_idx_tracker()
        self._close(self.predict_progress_bar)

    @never_fatal
    def on_exception(self, *_: Any) -> None:
        """Leave the line of the bar, so that the error starts on its own."""
        for bar in reversed(self._open):
            bar.close()
        self._open.clear()

    @property
    def _evaluation_bar(self) -> Tqdm:
        stage = self.trainer.state.stage
        if stage == "test":
            return self.test_progress_bar
        return self.predict_progress_bar if stage == "predict" else self.val_progress_bar

    def _new(self, description: str, *, leave: bool, below: bool = False) -> Tqdm:
        return Tqdm(
            desc=description,
            position=2 * self._process_position + below,
            disable=self.is_disabled,
            leave=leave,
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )

    def _opened(self, bar: Tqdm) -> Tqdm:
        self._open.append(bar)
        return bar

    def _close(self, bar: Tqdm) -> None:
        if bar in self._open:
            self._open.remove(bar)
        bar.close()

    def _begin(self, bar: Tqdm, pace: Pace, description: str, total: float) -> None:
        known = None if math.isinf(total) else int(total)
        bar.set_description(description, refresh=False)
        bar.total = known
        bar.initial = 0
        bar.reset(known)
        if self.is_enabled:
            pace.start(total)

    @never_fatal
    def _begin_loader(self, dataloader_idx: int) -> None:
        description, total = self._loader_begun(dataloader_idx)
        self._begin(self._evaluation_bar, self._eval_pace, description, total)

    @never_fatal
    def _look_at_training(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        bar, pace = self.train_progress_bar, self._train_pace
        if pace.next == 0:
            bar.initial = self._trained - 1  # an epoch that was taken up in its middle
        if pace.due(self._trained):
            self._draw_training(trainer, pl_module)

    def _draw_training(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self.is_disabled:
            return
        bar = self.train_progress_bar
        bar.n = self._trained
        bar.set_postfix(self.get_metrics(trainer, pl_module))

    @never_fatal
    def _look_at_evaluation(self, done: int) -> None:
        bar = self._evaluation_bar
        bar.n = done
        if self._eval_pace.due(done):
            bar.refresh()


def _resolve_refresh_rate(refresh_rate: int) -> int:
    """Draw less often where drawing is slow or the environment asks for it."""
    if refresh_rate <= 0:
        return refresh_rate
    if refresh_rate == 1 and read_flag("COLAB_GPU"):
        return 20
    return max(refresh_rate, read_int("TQDM_MINITERS", 0) or 0)
