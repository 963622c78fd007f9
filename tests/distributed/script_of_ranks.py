"""A program in two processes, in which one fails as it is told; run by the tests of faults.

Usage: script_of_ranks.py HOW FAULT RANK FOLDER
"""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.distributed.environments import LightningEnvironment
from pytorch_lightning.distributed.launchers import make_launcher
from pytorch_lightning.distributed.process_group import join_group
from pytorch_lightning.distributed.watch import finish_run, report_fault


class OddError(Exception):
    """Cannot be unpickled."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def train(fault, who, folder):
    environment = detect_environment()
    if isinstance(environment, LightningEnvironment):
        environment.set_world_size(int(os.environ["WORLD_SIZE"]))
        environment.set_global_rank(environment.local_rank())
    join_group(environment, backend="gloo", timeout=timedelta(seconds=2), plan={"devices": 2})
    rank = environment.global_rank()
    (folder / f"pid{rank}").write_text(str(os.getpid()))
    for step in range(100_000):
        if step == 3 and fault == "none":
            break
        if step == 3 and rank == who:
            (folder / "time").write_text(str(time.time()))
            fail(fault)
        dist.all_reduce(torch.ones(1))
        time.sleep(0.01)
    finish_run()
    if fault == "none" and rank == who:
        time.sleep(1)  # ends after the other one
    return rank


def fail(fault):
    if fault == "raise":
        raise ValueError("boom")
    if fault == "odd":
        raise OddError(1, 2)
    if fault == "exit":
        sys.exit(3)
    if fault == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if fault == "sleep":
        time.sleep(1000)


def main(how, fault, who, folder):
    arguments = fault, int(who), Path(folder)
    launcher = make_launcher(how, detect_environment(), 2, 1)
    if launcher is not None:
        print("returned", launcher.launch(train, *arguments))
        return
    try:
        print("returned", train(*arguments))
    except BaseException as error:
        report_fault(error)
        raise


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
