"""The runner of distributed tests itself: results come home, a hang is a failure."""

import os
import time

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import outcomes_of_ranks, run_ranks


def _sum_of_ranks(start):
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo")
    value = torch.tensor([float(start + rank)])
    dist.all_reduce(value)
    return value.item()


def _one_sleeps():
    if os.environ["RANK"] == "1":
        time.sleep(60)


def test_results_of_all_ranks_come_home():
    assert run_ranks(_sum_of_ranks, 2, 10) == [21.0, 21.0]


def test_a_hang_is_a_failure_that_prints_the_stack():
    fine, hung = outcomes_of_ranks(_one_sleeps, 2, limit=2)
    assert fine[0] and not hung[0]
    assert "_one_sleeps" in hung[2]


def test_an_error_names_its_rank():
    with pytest.raises(AssertionError, match="(?s)rank 0: .*TypeError"):
        run_ranks(_sum_of_ranks, 1, limit=20)
