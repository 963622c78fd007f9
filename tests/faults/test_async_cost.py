"""How long training stops, and how much memory it takes, to save in the background."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "async_save.py"


@pytest.mark.long
@pytest.mark.parametrize("kind", [[], ["--parts"]], ids=["a file", "a folder of parts"])
def test_training_stops_for_one_copy_of_the_state_and_memory_grows_by_one(kind):
    (figures,) = measured(*kind)
    assert figures["state"] == 600
    # the least of many, each beside a copy, as what else this machine does can only add to it
    assert figures["stop / copy, least"] <= 1.5, figures
    assert figures["memory added by the first"] <= 1.05, figures
    assert figures["memory added by later saves"] <= 0.05, figures


@pytest.mark.long
def test_each_of_two_ranks_works_for_one_copy_of_its_part():
    """How long they wait for each other's messages depends on what else the processors do."""
    every = measured("--ranks", "2")
    assert len(every) == 2
    for figures in every:
        assert figures["state"] == 300
        assert figures["the same in processor time"] <= 1.5, figures
        assert figures["memory added by the first"] <= 1.1, figures


def measured(*options):
    """The figures that each rank prints."""
    command = [sys.executable, SCRIPT, "--saves", "15", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    every = []
    for line in done.stdout.splitlines():
        if line.startswith("rank "):
            every.append({})
            continue
        name, _, rest = line.partition("  ")
        every[-1][name] = float(rest.split()[0])
    return every
