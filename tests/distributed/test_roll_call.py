"""At the start everybody says who he is and what he is about to do; who is missing is named."""

import os
import time
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import free_port, outcomes_of_ranks, run_ranks

from pytorch_lightning.distributed.environments import LightningEnvironment
from pytorch_lightning.distributed.process_group import join_group, leave_group
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment

RANK = "RANK"


def _join(plan=None, timeout=20.0, every=10.0):
    join_group(
        TorchElasticEnvironment(),
        backend="gloo",
        timeout=timedelta(seconds=timeout),
        plan=plan,
        every=every,
        patience=timedelta(0),
    )


def _sum():
    value = torch.tensor(float(os.environ[RANK]) + 1)
    dist.all_reduce(value)
    return value.item()


def _meet():
    _join({"precision": "32-true"})
    return _sum()


def _meet_twice():
    _join()
    first = _sum()
    _join()  # another run in the same group
    again = _sum()
    leave_group()
    assert not dist.is_initialized()
    _join()
    return first, again, _sum()


def _meet_late():
    if os.environ[RANK] == "1":
        time.sleep(1.5)
    _join(every=0.5)
    return _sum()


def _meet_rank_zero_late():
    if os.environ[RANK] == "0":
        time.sleep(1.5)
    _join(every=0.5)
    return _sum()


def _one_never_comes():
    if os.environ[RANK] == "1":
        return
    _join(timeout=1.5, every=0.5)


def _other_precision():
    _join({"strategy": "DDPStrategy", "precision": ["32-true", "16-mixed"][int(os.environ[RANK])]})


def _same_rank_twice():
    if os.environ[RANK] == "2":
        os.environ[RANK] = "1"
    _join(timeout=3)


def _alone():
    environment = LightningEnvironment()
    join_group(environment, backend="gloo")
    value = torch.tensor(3.0)
    dist.all_reduce(value)
    return value.item(), os.environ.get("MASTER_PORT")


def test_all_are_there():
    assert run_ranks(_meet, 2) == [3.0, 3.0]


def test_a_group_can_be_left_and_joined_again():
    assert run_ranks(_meet_twice, 3) == [(6.0, 6.0, 6.0)] * 3


def test_who_is_missing_is_named_until_he_comes():
    early, late = outcomes_of_ranks(_meet_late, 2)
    assert early[1] == late[1] == 3.0
    assert "waiting for rank 1 of 2 (WORLD_SIZE=2, set by torchrun), " in early[2]
    assert "waiting" not in late[2]


def test_a_late_rank_zero_is_named_by_its_address():
    port = free_port()
    outcomes = outcomes_of_ranks(_meet_rank_zero_late, 2, env={"MASTER_PORT": str(port)})
    assert outcomes[0][1] == outcomes[1][1] == 3.0
    assert f"[rank 1] no answer from rank 0 at 127.0.0.1:{port}" in outcomes[1][2]


def test_a_missing_rank_is_an_error_that_names_it():
    present, _ = outcomes_of_ranks(_one_never_comes, 2)
    assert not present[0]
    assert "TimeoutError: Rank 1 of 2 did not come (WORLD_SIZE=2, set by torchrun)" in present[2]


def test_different_plans_are_the_same_error_everywhere():
    outcomes = outcomes_of_ranks(_other_precision, 2)
    told = "`precision` is 32-true on rank 0, 16-mixed on rank 1"
    assert [(ok, told in text) for ok, _, text in outcomes] == [(False, True)] * 2


def test_two_processes_with_one_rank_are_an_error():
    outcomes = outcomes_of_ranks(_same_rank_twice, 3)
    texts = "".join(text for _, _, text in outcomes)
    assert "Two processes say that they are rank 1 of 3" in texts


def test_one_process_needs_no_port():
    assert run_ranks(_alone, 1, torchrun=False, env={"MASTER_PORT": ""}) == [(3.0, "")]


def test_a_taken_port_is_named():
    import socket

    from pytorch_lightning.distributed.rendezvous import open_port

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"`MASTER_PORT={port}`: this machine does not give"):
            open_port("127.0.0.1", port)
