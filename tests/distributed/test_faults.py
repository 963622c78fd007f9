"""A rank that raises, dies or stalls ends the whole job soon; what came first is told first."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).with_name("script_of_ranks.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
LIMIT = 90
TOLD = {
    "raise": "ValueError: boom",
    "exit": "SystemExit: 3",
    "kill": "killed by SIGKILL",
    "stop": "Timed out waiting",
    "sleep": "Timed out waiting",
}


class Ended(NamedTuple):
    code: int
    text: str
    seconds: float | None
    """From the fault to the end of the last process."""


def run_script(folder, how, fault, rank) -> Ended:
    start = TORCHRUN if how == "torchrun" else []
    method = "popen" if how == "torchrun" else how
    command = [sys.executable, *start, str(SCRIPT), method, fault, str(rank), str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        code = process.wait(LIMIT)
    pids = [int(file.read_text()) for file in folder.glob("pid*")]
    assert len(pids) == 2, (folder / "output").read_text()
    end = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.05)
    began = folder / "time"
    seconds = time.time() - float(began.read_text()) if began.exists() else None
    return Ended(code, (folder / "output").read_text(), seconds)


def check(ended, how, fault, rank):
    assert ended.code not in (0, None)
    # A stall begins when the timeout of the group, 2 s, is over.
    assert ended.seconds < (12 if fault in ("stop", "sleep") else 10)
    killed_root = how == "popen" and fault == "kill" and rank == 0
    by_agent = how == "torchrun" and fault == "kill"
    if by_agent:
        assert "Signal 9 (SIGKILL)" in ended.text
    elif killed_root:
        assert "rank 0 failed first: " in ended.text
    else:
        first = ended.text.index(TOLD[fault])
        other = ended.text.find("Connection closed by peer")
        assert other == -1 or first < other
    if fault == "sleep" and how != "torchrun":
        assert "in fail" in ended.text  # the stack of the one that others waited for


SOME = [
    ("popen", "raise", 1),
    ("popen", "kill", 0),
    ("popen", "sleep", 1),
    ("spawn", "kill", 1),
    ("torchrun", "raise", 1),
]
ALL = [
    (how, fault, rank)
    for how in ("popen", "spawn", "fork", "torchrun")
    for fault in TOLD
    for rank in (0, 1)
]


@pytest.mark.parametrize(("how", "fault", "rank"), SOME)
def test_a_fault_ends_the_job(tmp_path, how, fault, rank):
    check(run_script(tmp_path, how, fault, rank), how, fault, rank)


@pytest.mark.long
@pytest.mark.parametrize(("how", "fault", "rank"), [cell for cell in ALL if cell not in SOME])
def test_every_fault_ends_the_job(tmp_path, how, fault, rank):
    check(run_script(tmp_path, how, fault, rank), how, fault, rank)


def test_a_clean_end_says_nothing(tmp_path):
    ended = run_script(tmp_path, "popen", "none", 1)
    assert (ended.code, sorted(ended.text.split())) == (0, ["0", "1", "returned", "returned"])


@pytest.mark.long
@pytest.mark.parametrize("how", ["popen", "spawn", "fork", "torchrun"])
@pytest.mark.parametrize("last", [0, 1])
def test_every_clean_end_says_nothing(tmp_path, how, last):
    ended = run_script(tmp_path, how, "none", last)
    assert ended.code == 0
    assert set(ended.text.split()) <= {"returned", "0", "1"}
