"""How long training stops, and how much memory it takes, to save in the background."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "async_save.py"


@pytest.mark.long
@pytest.mark.parametrize("kind", [[], ["--parts"]], ids=["a file", "a folder of parts"])
def test_training_stops_for_one_copy_of_the_state_and_memory_grows_by_one(kind):
    command = [sys.executable, SCRIPT, *kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition("  ")
        figures[name] = float(rest.split()[0])
    assert figures["state"] == 600
    # the least of several, as what else this machine does can only add to it
    assert figures["stop / copy, least"] <= 1.5, done.stdout
    assert figures["memory added by the first"] <= 1.05, done.stdout
    assert figures["memory added by later saves"] <= 0.05, done.stdout
