"""Print what the model consists of when fitting begins."""

import logging
from typing import TYPE_CHECKING, Any

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.model_summary import ModelSummary as Summary
from pytorch_lightning.utilities.model_summary import (
    get_formatted_model_size,
    get_human_readable_count,
    summarize,
)
from pytorch_lightning.utilities.model_summary.table import (
    format_columns,
    format_footer,
    readable_size,
)

if TYPE_CHECKING:
    import pytorch_lightning as pl

log = logging.getLogger(__name__)


class ModelSummary(Callback):
    """Print a table of the layers at the start of `fit`.

    Args:
        max_depth: How deep to look; 0 prints nothing, -1 shows every layer.
        summarize_kwargs: Handed to `summarize`, for subclasses.

    Example:
        >>> class OnlyTotals(ModelSummary):
        ...     @staticmethod
        ...     def summarize(summary_data, total_parameters, *args, **kwargs):
        ...         print(f"{total_parameters} parameters")
    """

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        if not isinstance(max_depth, int) or max_depth < -1:
            raise ValueError(
                f"`ModelSummary(max_depth={max_depth!r})`:"
                " pass 0 (nothing), a depth, or -1 (every layer)."
            )
        self._max_depth = max_depth
        self._summarize_kwargs = summarize_kwargs

    def on_fit_start(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> None:
        """Print the table, on the first process."""
        if self._max_depth == 0:
            return
        summary = self._summary(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        self.summarize(
            summary.columns(),
            summary.total_parameters,
            summary.trainable_parameters,
            summary.model_size,
            summary.total_training_modes,
            total_flops=summary.total_flops,
            **self._summarize_kwargs,
        )

    def _summary(self, trainer: "pl.Trainer", pl_module: "pl.LightningModule") -> Summary:
        return summarize(pl_module, max_depth=self._max_depth)

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Print the table; override it to print something else.

        Args:
            summary_data: The columns, each a title and its cells.
            model_size: In megabytes.
            total_training_modes: How many modules are in "train" and in "eval" mode.
            total_flops: 0 where nobody counted.
        """
        totals = count_totals(
            total_parameters, trainable_parameters, model_size, total_training_modes, total_flops
        )
        log.info("\n%s\n%s", format_columns(summary_data), format_footer(totals))


def count_totals(
    parameters: int, trainable: int, megabytes: float, modes: dict[str, int], flops: int
) -> dict[str, str]:
    """The lines below the table: what is counted, and the count as text."""
    size = f"Total estimated model params size (MB), {readable_size(megabytes * 1e6)}"
    totals = {
        "Trainable params": get_human_readable_count(trainable),
        "Non-trainable params": get_human_readable_count(parameters - trainable),
        "Total params": get_human_readable_count(parameters),
        size: get_formatted_model_size(megabytes),
        "Modules in train mode": str(modes["train"]),
        "Modules in eval mode": str(modes["eval"]),
    }
    return {**totals, "Total Flops": get_human_readable_count(flops)} if flops else totals
