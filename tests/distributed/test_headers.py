"""What ranks send first, and what they are told where it differs."""

import os

import torch.distributed as dist
from tests.distributed.ranks import run_ranks

from pytorch_lightning.distributed import headers


def test_fingerprints_are_those_of_the_text():
    assert headers.fingerprint("a") == headers.fingerprint("a")
    assert headers.fingerprint("a") != headers.fingerprint("b")
    assert -(2**63) <= headers.fingerprint("") < 2**63


def _different_things():
    dist.init_process_group("gloo")
    rank, said = int(os.environ["RANK"]), []
    for kind, numbers in [("barrier", [1, 2]), (["barrier", "broadcast"][rank], [])]:
        try:
            said.append(headers.meet_for(kind, numbers).tolist())
        except RuntimeError as error:
            said.append(str(error))
    return said, headers.meet_for("barrier", [rank]).tolist()


def test_ranks_that_begin_different_things_hear_of_it_and_are_in_step_afterwards():
    for (alike, said), after in run_ranks(_different_things, 2, limit=20):
        assert alike == [[1, 2], [1, 2]]
        assert "rank 0: barrier (`meet_for`, test_headers.py:" in said
        assert "rank 1: broadcast (`meet_for`, test_headers.py:" in said
        assert after == [[0], [1]]
