"""Counts the rows of the compatibility tables: python docs/compatibility/count.py."""

import re
from collections import Counter
from pathlib import Path

ROW = re.compile(
    r"^\|\s*[A-Z]+-\d+[a-z]?\s*\|.*\|\s*(yes|differs|no)\s*\|[^|]*\|\s*$", re.MULTILINE
)
WORDS = ("yes", "differs", "no")


def count(folder: Path) -> dict[str, Counter[str]]:
    """How many rows of each page say yes, differs or no."""
    return {
        page.stem: Counter(ROW.findall(page.read_text())) for page in sorted(folder.glob("*.md"))
    }


def table(counts: dict[str, Counter[str]]) -> str:
    """The counts as a table, with their sums."""
    total: Counter[str] = sum(counts.values(), Counter())
    lines = [f"{'page':<24}{'yes':>6}{'differs':>9}{'no':>6}"]
    for name, found in [*counts.items(), ("all", total)]:
        yes, differs, no = (found[word] for word in WORDS)
        lines.append(f"{name:<24}{yes:>6}{differs:>9}{no:>6}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(count(Path(__file__).parent)))
