"""The table that `validate` and `test` print."""

import shutil
from collections.abc import Sequence

_TITLES = {"validation": "Validate metric", "test": "Test metric"}


def print_results(results: Sequence[dict[str, float]], stage: str) -> None:
    """Print one row per metric and one column per loader, as many as fit side by side."""
    rows: dict[str, list[str]] = {}
    for index, metrics in enumerate(results):
        for name, value in metrics.items():
            plain = name.removesuffix(f"/dataloader_idx_{index}")
            rows.setdefault(plain, [""] * len(results))[index] = str(value)
    if not rows:
        return
    columns = ["", *(f"DataLoader {index}" for index in range(len(results)))]
    columns[0] = _TITLES[stage]
    width = max(25, *(len(c) for c in columns), *(len(v) for r in rows.values() for v in r))
    first = max(25, *(len(name) for name in rows))
    per_line = max(1, (shutil.get_terminal_size((120, 30)).columns - first) // (width + 2))
    for start in range(1, len(columns), per_line):
        picked = range(start, min(start + per_line, len(columns)))
        rule = "─" * (first + len(picked) * (width + 2))
        print(rule)
        print(columns[0].center(first) + "".join("  " + columns[i].center(width) for i in picked))
        print(rule)
        for name, values in rows.items():
            print(name.center(first) + "".join("  " + values[i - 1].center(width) for i in picked))
        print(rule)
