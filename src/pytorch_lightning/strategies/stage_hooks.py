"""Where a strategy may act as a run goes from stage to stage."""

from typing import Any

from pytorch_lightning.utilities.plain_mark import plain


class StageHooks:
    """The hooks of a strategy; none does anything by itself."""

    @plain
    def on_train_start(self) -> None:
        """Training begins."""

    @plain
    def on_train_end(self) -> None:
        """Training ends."""

    @plain
    def on_validation_start(self) -> None:
        """Validation begins."""

    @plain
    def on_validation_end(self) -> None:
        """Validation ends."""

    @plain
    def on_test_start(self) -> None:
        """Testing begins."""

    @plain
    def on_test_end(self) -> None:
        """Testing ends."""

    @plain
    def on_predict_start(self) -> None:
        """Prediction begins."""

    @plain
    def on_predict_end(self) -> None:
        """Prediction ends."""

    @plain
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """A training batch begins."""

    @plain
    def on_exception(self, exception: BaseException) -> None:
        """The run failed."""
