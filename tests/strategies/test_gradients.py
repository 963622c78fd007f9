"""Gradients of ranks with and without data, added outside of backward."""

import os
from functools import reduce

import torch
from tests.distributed.ranks import run_ranks
from torch import nn

from pytorch_lightning.strategies import gradients
from pytorch_lightning.strategies.gradients import sum_gradients

SHAPES = [(3, 4), (4,), (2, 2, 2), (5,), (1,)]
HAS = [[1, 1, 0, 0, 1], [0, 1, 0, 1, 1], [0, 1, 0, 1, 1]]  # by rank; the third has none anywhere
SHARES = [0.25, 0.75, 0.0]


def own_gradients(rank):
    generator = torch.Generator().manual_seed(rank)
    made = [torch.randn(s, generator=generator, dtype=torch.float64) for s in SHAPES]
    return [grad if has else None for grad, has in zip(made, HAS[rank], strict=True)]


def summed(bucket):
    torch.distributed.init_process_group("gloo")
    rank = int(os.environ["RANK"])
    gradients._BUCKET_BYTES = bucket
    parameters = [nn.Parameter(torch.zeros(s, dtype=torch.float64)) for s in SHAPES]
    for parameter, gradient in zip(parameters, own_gradients(rank), strict=True):
        parameter.grad = gradient
    if rank == 2:
        parameters[4].grad.fill_(float("nan"))  # its share is zero
    sum_gradients([*parameters, parameters[0]], SHARES[rank])
    views = nn.Parameter(torch.zeros(2, 3))
    views.grad = torch.full((3, 2), float(rank)).t()
    table = nn.Parameter(torch.zeros(4, 2, dtype=torch.float64))
    if rank != 1:
        index = torch.tensor([[rank, 3]])
        rows = torch.ones(2, 2).double()
        table.grad = torch.sparse_coo_tensor(index, rows, (4, 2), check_invariants=True)
    sum_gradients([views, table], 1.0)
    sum_gradients([], 1.0)
    rest = [views.grad.tolist(), table.grad.to_dense().tolist()]
    return [p.grad if p.grad is None else p.grad.tolist() for p in parameters], rest


def test_shares_are_added_and_nothing_counts_as_zeros():
    expected = []
    for index in range(len(SHAPES)):
        of_ranks = [own_gradients(rank)[index] for rank in range(2)]
        parts = [g * s for g, s in zip(of_ranks, SHARES, strict=False) if g is not None]
        expected.append(reduce(torch.add, parts).tolist() if parts else None)
    for weights, (views, table) in run_ranks(summed, 3, 60):
        assert weights == expected
        assert views == [[3.0] * 3] * 2
        assert table == [[1.0] * 2, [0.0] * 2, [1.0] * 2, [2.0] * 2]


def test_the_size_of_a_bucket_changes_nothing():
    assert run_ranks(summed, 3, 60) == run_ranks(summed, 3, 2**20)
