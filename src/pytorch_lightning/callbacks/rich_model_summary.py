"""Print what the model consists of, as a table of rich."""

from typing import Any

from pytorch_lightning.callbacks.model_summary import ModelSummary, count_totals
from pytorch_lightning.utilities.imports import import_optional


class RichModelSummary(ModelSummary):
    """Print a table of the layers at the start of `fit`, drawn by rich.

    Args:
        max_depth: How deep to look; 0 prints nothing, -1 shows every layer.
        summarize_kwargs: `header_style` among them goes to `rich.table.Table`.
    """

    def __init__(self, max_depth: int = 1, **summarize_kwargs: Any) -> None:
        import_optional("rich", extra="rich", purpose="`RichModelSummary`")
        super().__init__(max_depth, **summarize_kwargs)

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
        """Print the table; override it to print something else."""
        from rich import get_console
        from rich.markup import escape
        from rich.table import Table

        console = get_console()
        table = Table(header_style=summarize_kwargs.get("header_style", "bold magenta"))
        for title, _ in summary_data:
            table.add_column(title, justify="right" if title in ("Params", "FLOPs") else "left")
        for row in zip(*(cells for _, cells in summary_data), strict=True):
            table.add_row(*map(escape, row))
        console.print(table)
        totals = count_totals(
            total_parameters, trainable_parameters, model_size, total_training_modes, total_flops
        )
        for meaning, number in totals.items():
            console.print(f"[bold]{escape(meaning)}[/]: {number.strip()}")
