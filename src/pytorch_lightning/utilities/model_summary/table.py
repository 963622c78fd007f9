"""Numbers and columns as text."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Column: TypeAlias = tuple[str, list[str]]
_COUNT_UNITS = (" ", "K", "M", "B", "T")
_BYTE_UNITS = ("B", "KB", "MB", "GB", "TB")


def get_human_readable_count(number: float) -> str:
    """Shorten a count to two significant places and a unit.

    >>> [get_human_readable_count(n) for n in (123, 1234, 2e6, 3e15)]
    ['123  ', '1.2 K', '2.0 M', '3,000 T']
    """
    if number < 0:
        raise ValueError(f"`number={number}`: a count is not negative.")
    size, unit = float(number), 0
    while size >= 1000 and unit < len(_COUNT_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    if unit == 0 or size >= 100:
        return f"{int(size):,d} {_COUNT_UNITS[unit]}"
    return f"{size:,.1f} {_COUNT_UNITS[unit]}"


def get_formatted_model_size(total_model_size: float) -> str:
    """Megabytes with three decimals."""
    return f"{total_model_size:,.3f}"


def readable_size(num_bytes: float) -> str:
    """Shorten a size to a unit of bytes.

    >>> readable_size(2300)
    '2.3 KB'
    """
    unit = 0
    while num_bytes >= 1000 and unit < len(_BYTE_UNITS) - 1:
        num_bytes, unit = num_bytes / 1000, unit + 1
    return f"{num_bytes:.0f} B" if unit == 0 else f"{num_bytes:.1f} {_BYTE_UNITS[unit]}"


def format_columns(columns: Sequence[Column]) -> str:
    """Put columns side by side, each as wide as its widest entry."""
    widths = [max(map(len, [title, *cells])) for title, cells in columns]

    def line(cells: Sequence[str]) -> str:
        return " | ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))

    rule = "-" * (sum(widths) + 3 * (len(columns) + 1))
    rows = [line(row) for row in zip(*(cells for _, cells in columns), strict=True)]
    return "\n".join([line([title for title, _ in columns]), rule, *rows, rule])


def format_footer(totals: Mapping[str, str]) -> str:
    """One line for each total, the number first."""
    return "\n".join(f"{number:<10}{meaning}" for meaning, number in totals.items())
