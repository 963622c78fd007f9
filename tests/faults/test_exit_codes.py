"""What programs leave with that a signal ends, started as users start them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.long
SCRIPT = Path(__file__).with_name("leaves.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
LIMIT = 120


def leave(folder, how, number, *, to_all):
    """The exit code, what was said, and the seconds from the signal to the end."""
    devices = "1" if how == "alone" else "2"
    start = TORCHRUN if how == "torchrun" else []
    command = [sys.executable, *start, str(SCRIPT), devices, str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        end = time.monotonic() + LIMIT
        while len(list(folder.glob("trains*"))) < int(devices):
            assert time.monotonic() < end and process.poll() is None, (
                folder / "output"
            ).read_text()
            time.sleep(0.05)
        began = time.monotonic()
        (os.killpg if to_all else os.kill)(process.pid, number)
        code = process.wait(LIMIT)
    return code, (folder / "output").read_text(), time.monotonic() - began


CELLS = [
    ("alone", signal.SIGINT, False, 130),
    ("alone", signal.SIGTERM, False, 143),
    ("alone", signal.SIGUSR1, False, 143),
    ("script", signal.SIGINT, True, 130),
    ("script", signal.SIGTERM, True, 143),
    ("script", signal.SIGTERM, False, 143),
    ("torchrun", signal.SIGTERM, False, 1),
    ("torchrun", signal.SIGINT, False, 1),
]


@pytest.mark.parametrize(("how", "number", "to_all", "code"), CELLS, ids=str)
def test_what_a_program_leaves_with(tally, tmp_path, how, number, to_all, code):
    tally(number.name)
    found, text, seconds = leave(tmp_path, how, number, to_all=to_all)
    assert found == code, text
    assert seconds < 10
    kept = tmp_path / "kept" / "last.ckpt"
    assert kept.exists() == (number != signal.SIGINT)
    if kept.exists():
        assert torch.load(kept)["global_step"] >= 4
