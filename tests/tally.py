"""Counts the faults that tests bring about, and prints what became of them.

A test calls `tally("SIGKILL during a save")` for each fault before it looks at what is left. Those
of a test that fails count as not survived. `pytest --faults` prints the sums, and
`--write-faults FILE` puts them between the two marks of that file.
"""

import datetime
import platform
from collections import Counter
from pathlib import Path

import pytest
import torch

_NAME = "faults"
_BEGIN, _END = "<!-- faults: begin -->", "<!-- faults: end -->"


@pytest.fixture
def tally(request):
    """A function that counts faults of a kind."""

    def count(kind: str, number: int = 1) -> None:
        request.node.user_properties.append((_NAME, [kind, number]))

    return count


class Tally:
    """The sums over all tests and processes."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report) -> None:
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == _NAME:
                kind, number = value
                self.tried[kind] += number
                self.survived[kind] += number * report.passed

    def table(self) -> list[str]:
        rows = ["| fault | tried | survived |", "|---|---|---|"]
        for kind in sorted(self.tried):
            rows.append(f"| {kind} | {self.tried[kind]:,} | {self.survived[kind]:,} |")
        total, alive = self.tried.total(), self.survived.total()
        return [*rows, f"| *all* | {total:,} | {alive:,} |"]


def pytest_addoption(parser) -> None:
    parser.addoption("--faults", action="store_true", help="print what became of the faults")
    parser.addoption("--write-faults", metavar="FILE", help="put that table into a file")


def pytest_configure(config) -> None:
    if config.getoption("--faults") or config.getoption("--write-faults"):
        config.pluginmanager.register(Tally(), "tally-of-faults")


def pytest_terminal_summary(terminalreporter, config) -> None:
    tally = config.pluginmanager.get_plugin("tally-of-faults")
    if tally is None or not tally.tried:
        return
    terminalreporter.write_line("")
    for line in tally.table():
        terminalreporter.write_line(line)
    if (path := config.getoption("--write-faults")) and not hasattr(config, "workerinput"):
        _write(Path(path), tally.table())


def _write(path: Path, table: list[str]) -> None:
    text = path.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    day = datetime.date.today().isoformat()
    where = f"{day}, Python {platform.python_version()}, torch {torch.__version__}, CPU:"
    path.write_text("\n".join([before + _BEGIN, where, "", *table, "", _END]) + after)
