"""Progress bars drawn by rich, for those who ask for them."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytorch_lightning.callbacks.progress.evaluation import note_batch_end, note_batch_start
from pytorch_lightning.callbacks.progress.never_fatal import never_fatal
from pytorch_lightning.callbacks.progress.pace import Pace
from pytorch_lightning.callbacks.progress.progress_bar import ProgressBar
from pytorch_lightning.callbacks.progress.remaining import name_of_epoch
from pytorch_lightning.utilities.imports import import_optional

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID
    from rich.style import Style

    import pytorch_lightning as pl


@dataclass
class RichProgressBarTheme:
    """Styles of the parts of a `RichProgressBar`, as rich spells them.

    Args:
        metrics_format: How a float is written, as in a format string.
    """

    description: "str | Style" = ""
    progress_bar: "str | Style" = "#6206E0"
    progress_bar_finished: "str | Style" = "#6206E0"
    progress_bar_pulse: "str | Style" = "#6206E0"
    batch_progress: "str | Style" = ""
    time: "str | Style" = "dim"
    processing_speed: "str | Style" = "dim underline"
    metrics: "str | Style" = "italic"
    metrics_text_delimiter: str = " "
    metrics_format: str = ".3f"


class RichProgressBar(ProgressBar):
    """Training and, below it, validation in one live display.

    Args:
        refresh_rate: Draw after so many batches or after a second, whichever is first; at most
            ten times a second. 0 draws nothing.
        leave: Keep the bar of every epoch on the screen.
        theme: The styles.
        console_kwargs: Arguments of `rich.console.Console`.
    """

    on_validation_batch_start = note_batch_start
    on_test_batch_start = note_batch_start
    on_predict_batch_start = note_batch_start
    on_validation_batch_end = note_batch_end
    on_test_batch_end = note_batch_end
    on_predict_batch_end = note_batch_end

    def __init__(
        self,
        refresh_rate: int = 100,
        leave: bool = False,
        theme: RichProgressBarTheme = RichProgressBarTheme(),  # noqa: B008 - as documented
        console_kwargs: dict[str, Any] | None = None,
    ) -> None:
        import_optional("rich", extra="rich", purpose="`RichProgressBar`")
        super().__init__()
        self._refresh_rate = refresh_rate
        self._leave = leave
        self.theme = theme
        self._console_kwargs = console_kwargs or {}
        self._train_pace = Pace(refresh_rate, longest=1.0)
        self._eval_pace = Pace(refresh_rate, longest=1.0)
        self.progress: Progress | None = None
        self._train_task: TaskID | None = None
        self._eval_task: TaskID | None = None
        self._trained = 0

    @property
    def refresh_rate(self) -> int:
        """After how many batches the bars are drawn."""
        return self._refresh_rate

    @property
    def is_enabled(self) -> bool:
        """Is anything drawn?"""
        return self._enabled and self._refresh_rate > 0

    @property
    def is_disabled(self) -> bool:
        """Is nothing drawn?"""
        return not self.is_enabled

    @property
    def train_progress_bar(self) -> "Task | None":
        """The bar of training, while there is one."""
        return self._task(self._train_task)

    @property
    def val_progress_bar(self) -> "Task | None":
        """The bar of validation, while there is one."""
        return self._task(self._eval_task)

    val_sanity_check_bar = val_progress_bar
    test_progress_bar = val_progress_bar
    predict_progress_bar = val_progress_bar
    main_progress_bar = train_progress_bar
    sanity_progress_bar = val_progress_bar

    def disable(self) -> None:
        """Draw nothing from now on, and give the terminal back."""
        super().disable()
        self._train_pace.stop()
        self._eval_pace.stop()
        progress, self.progress = self.progress, None
        self._train_task = self._eval_task = None
        if progress is not None:
            progress.stop()

    def configure_columns(self, trainer: "pl.Trainer") -> list["ProgressColumn"]:
        """Choose the columns from left to right; override it to show others."""
        from rich import progress

        theme = self.theme
        return [
            _text("{task.description}", theme.description),
            progress.BarColumn(
                complete_style=theme.progress_bar,
                finished_style=theme.progress_bar_finished,
                pulse_style=theme.progress_bar_pulse,
            ),
            _text("{task.fields[count]}", theme.batch_progress),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            _text("{task.fields[speed]}", theme.processing_speed),
            _text("{task.fields[metrics]}", theme.metrics),
        ]

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bars."""
        if self.progress is None:
            print(*args, **kwargs)
        else:
            text = kwargs.get("sep", " ").join(map(str, args))
            self.progress.console.print(text, end=kwargs.get("end", "\n"), markup=False)

    @never_fatal
    def on_sanity_check_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._start(trainer)

    @never_fatal
    def on_sanity_check_end(self, *_: Any) -> None:
        self._remove(self._eval_task)
        self._finish()

    @never_fatal
    def on_train_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._start(trainer)
        self._train_task = self._add(self.train_description, math.inf)

    @never_fatal
    def on_train_epoch_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        if self.is_disabled:
            return
        self._trained = 0
        if not self._leave:
            self._remove(self._train_task)
        total = self.total_train_batches
        self._train_task = self._add(name_of_epoch(trainer), total)
        self._train_pace.start(total)

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
        self._finish()

    @never_fatal
    def on_validation_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self._train_task is None:
            self._start(trainer)
        else:
            self._draw_training(trainer, pl_module)

    @never_fatal
    def on_validation_end(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        self.reset_dataloader_idx_tracker()
        if self._train_task is not None:
            self._remove(self._eval_task)
            self._eval_task = None
            self._draw_training(trainer, pl_module)
        elif not trainer.sanity_checking:
            self._finish()

    @never_fatal
    def on_test_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._start(trainer)

    @never_fatal
    def on_test_end(self, *_: Any) -> None:
        self._finish()

    @never_fatal
    def on_predict_start(self, trainer: "pl.Trainer", *_: Any) -> None:
        self._start(trainer)

    @never_fatal
    def on_predict_end(self, *_: Any) -> None:
        self._finish()

    @never_fatal
    def on_exception(self, *_: Any) -> None:
        self._finish()

    @never_fatal
    def teardown(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", stage: str) -> None:
        self._finish()

    def _start(self, trainer: "pl.Trainer") -> None:
        if self.is_disabled or self.progress is not None:
            return
        from rich.console import Console
        from rich.progress import Progress

        # we refresh ourselves: rich's own thread may hold the lock of the console at a fork
        self.progress = Progress(
            *self.configure_columns(trainer),
            auto_refresh=False,
            console=Console(**self._console_kwargs),
        )
        self.progress.start()

    def _finish(self) -> None:
        progress, self.progress = self.progress, None
        self._train_task = self._eval_task = None
        self.reset_dataloader_idx_tracker()
        if progress is not None:
            progress.refresh()
            progress.stop()

    def _task(self, task: "TaskID | None") -> "Task | None":
        return None if self.progress is None or task is None else self.progress._tasks.get(task)

    def _add(self, words: str, total: float) -> "TaskID | None":
        if self.progress is None:
            return None
        known = None if math.isinf(total) else total
        text: dict[str, Any] = {
            "count": f"0/{'--' if known is None else int(known)}",
            "speed": "",
            "metrics": "",
        }
        task = self.progress.add_task(words, total=known, **text)
        self.progress.refresh()
        return task

    def _remove(self, task: "TaskID | None") -> None:
        if self.progress is not None and task is not None:
            self.progress.remove_task(task)

    @never_fatal
    def _begin_loader(self, dataloader_idx: int) -> None:
        words, total = self._loader_begun(dataloader_idx)
        if self.is_disabled:
            return
        if dataloader_idx == 0:
            self._remove(self._eval_task)
        self._eval_task = self._add(words, total)
        self._eval_pace.start(total)

    @never_fatal
    def _look_at_training(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self._train_pace.due(self._trained):
            self._draw_training(trainer, pl_module)

    def _draw_training(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        if self.is_enabled and self._train_task is not None:
            metrics = self.get_metrics(trainer, pl_module)
            text = self.theme.metrics_text_delimiter.join(
                f"{name}: {self._written(value)}" for name, value in metrics.items()
            )
            self._draw(self._train_task, self._trained, metrics=text)

    def _written(self, value: object) -> str:
        return format(value, self.theme.metrics_format) if isinstance(value, float) else str(value)

    @never_fatal
    def _look_at_evaluation(self, done: int) -> None:
        if self._eval_task is not None and self._eval_pace.due(done):
            self._draw(self._eval_task, done)

    def _draw(self, task_id: "TaskID", done: int, **fields: Any) -> None:
        task = self._task(task_id)
        if self.progress is None or task is None:
            return
        total = "--" if task.total is None else int(task.total)
        seconds = task.elapsed or 0.0
        speed = f"{done / seconds:.2f}it/s" if seconds > 0 else ""
        self.progress.update(
            task_id, completed=done, count=f"{done}/{total}", speed=speed, refresh=True, **fields
        )


def _text(words: str, style: "str | Style") -> "ProgressColumn":
    from rich.progress import TextColumn

    # names of metrics may hold brackets, which are no markup
    return TextColumn(words, style=style or "none", markup=False)
