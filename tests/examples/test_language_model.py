import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from examples.language_model import LONGEST, Text, main
from examples.run_all import result_of

PROGRAM = Path(__file__).parents[2] / "examples" / "language_model.py"


def logged(folder):
    """All bits of training and validation, in their order."""
    (file,) = Path(folder).rglob("metrics.csv")
    with file.open(newline="") as rows:
        return [
            float(row[name])
            for row in csv.DictReader(rows)
            for name in ("train_bits", "val_bits")
            if row.get(name)
        ]


def test_a_short_run_learns_and_writes(capsys):
    assert main(["--steps", "20"]) == 0
    printed = capsys.readouterr().out
    bits, unigram = result_of("language_model", printed)
    assert unigram == pytest.approx(4.8, abs=0.1)
    assert bits < 6.0  # log2 of the alphabet is 6.7
    assert "it writes   'The class " in printed


def test_lines_are_ragged_and_topics_disjoint():
    text = Text(8)
    lengths = {len(line) for line in text.train}
    assert len(lengths) > 50 and max(lengths) == LONGEST + 1
    assert len(text.val) > 300


@pytest.mark.long
def test_batches_that_are_accumulated_are_one_batch():
    for name, count in (("one", "1"), ("four", "4")):
        assert main(["--steps", "3", "--accumulate", count, "--out", name]) == 0
    assert logged("four")[-1] == pytest.approx(logged("one")[-1], abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_have_the_losses_of_one(strategy):
    for name, more in (("one", []), ("two", ["--devices", "2", "--strategy", strategy])):
        command = [sys.executable, str(PROGRAM), "--steps", "11", "--out", name, *more]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=110)
    assert len(logged("one")) == 2
    assert logged("two") == pytest.approx(logged("one"), abs=1e-5)
