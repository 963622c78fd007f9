"""A rank that raises, dies or stalls ends the whole job soon; what came first is told first."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import outcomes_of_ranks, without_waits

from pytorch_lightning.distributed import asked_to_end, watch
from pytorch_lightning.distributed.children import is_running
from pytorch_lightning.distributed.process_group import join_group
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment

SCRIPT = Path(__file__).with_name("script_of_ranks.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
LIMIT = 80
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
    end = time.monotonic() + 30
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.05)
    began = folder / "time"
    seconds = time.time() - float(began.read_text()) if began.exists() else None
    return Ended(code, without_waits((folder / "output").read_text()), seconds)


def check(ended, how, fault, rank, within):
    assert ended.code not in (0, None)
    # From the fault to the end of the last process; a stall begins when the timeout of the group,
    # 2 s, is over.
    assert ended.seconds < within + 2 * (fault in ("stop", "sleep"))
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
    # 10 where the machine has nothing else to do, as in the long run
    check(run_script(tmp_path, how, fault, rank), how, fault, rank, within=40)


@pytest.mark.long
@pytest.mark.parametrize(("how", "fault", "rank"), [cell for cell in ALL if cell not in SOME])
def test_every_fault_ends_the_job(tmp_path, how, fault, rank):
    check(run_script(tmp_path, how, fault, rank), how, fault, rank, within=10)


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


def _one_waits_and_is_asked_to_end():
    asked_to_end.GRACE = 1
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # runs only between two lines
    join_group(TorchElasticEnvironment(), backend="gloo")
    pid = torch.tensor(os.getpid())
    dist.broadcast(pid, 0)
    if os.environ["RANK"] == "0":
        dist.all_reduce(torch.ones(1))
    time.sleep(1)
    os.kill(int(pid), signal.SIGTERM)
    while is_running(int(pid)):
        time.sleep(0.05)
    os._exit(0)


def _caught_everywhere():
    watch.GRACE = 1
    join_group(TorchElasticEnvironment(), backend="gloo")
    error = ValueError("the same for all")
    first = watch.report_fault(error)
    watch.finish_run()
    time.sleep(watch.GRACE + 1)  # nobody is ended who knows of the error
    join_group(TorchElasticEnvironment(), backend="gloo")  # and another run begins
    value = torch.ones(1)
    dist.all_reduce(value)
    return first, value.item()


def _only_one_raises():
    join_group(TorchElasticEnvironment(), backend="gloo")
    if os.environ["RANK"] == "1":
        error = ValueError("boom")
        watch.report_fault(error, "fit, epoch 0, batch 3")
        time.sleep(1.5)
        raise error
    try:
        dist.all_reduce(torch.ones(1))
    except RuntimeError as error:
        first = watch.report_fault(error)
        return str(first), error.__notes__


def _one_raises_and_others_read_late(who):
    rank = os.environ["RANK"]
    if rank != "0":
        watch._TICK = 1.0  # rank 0 and its store are long gone by then, if they do not wait
    join_group(TorchElasticEnvironment(), backend="gloo")
    try:
        if rank == who:
            raise ValueError("boom")
        dist.all_reduce(torch.ones(1))
    except (ValueError, RuntimeError) as error:
        first = watch.report_fault(error)
        if rank == "0":
            raise
        return None if first is None else str(first)


def test_sigterm_reaches_a_process_that_waits_in_a_collective():
    asked, _ = outcomes_of_ranks(_one_waits_and_is_asked_to_end, 2, limit=30)
    assert "exit code 143" in asked[2]
    assert "[rank 0] SIGTERM came, and it went on here:" in asked[2]
    assert "_one_waits_and_is_asked_to_end" in asked[2]


def test_an_error_on_all_ranks_ends_nobody_who_caught_it():
    outcomes = outcomes_of_ranks(_caught_everywhere, 2)
    assert [found for _, found, _ in outcomes] == [(None, 2.0)] * 2


def test_the_error_of_another_rank_is_a_note_on_what_it_causes():
    healthy, _ = outcomes_of_ranks(_only_one_raises, 2)
    told = "rank 1 failed first: ValueError: boom (fit, epoch 0, batch 3)"
    assert healthy[1] == (told, [told])
    assert f"[rank 0] {told}" in healthy[2]


@pytest.mark.parametrize("who", ["0", "1"])
def test_whoever_keeps_the_store_stays_until_others_have_read_what_came_first(who):
    _, *others = outcomes_of_ranks(_one_raises_and_others_read_late, 3, who)
    told = f"rank {who} failed first: ValueError: boom"
    assert [found for ok, found, _ in others] == [None if who == "1" else told, told]
