"""Weighted losses over ranks: as one process with all the sequences in one batch."""

import os

import torch
from tests.distributed.ranks import run_ranks
from tests.loops.weighted_runs import Tokens, one_big_batch, train, weights_of


def _train_all(world):
    rank = int(os.environ["RANK"])
    found = {}
    for pieces in {1, 3, 12 // world}:
        if (12 // world) % pieces:
            continue
        module = Tokens()
        order = range(rank, 12, world)
        train(module, order, pieces, steps=3, devices=world, strategy="ddp")
        found[pieces] = [weight.tolist() for weight in weights_of(module)]
    return found


def test_gradients_over_ranks_equal_those_of_one_big_batch():
    expected = one_big_batch(3)
    for world in (2, 3):
        for cells in run_ranks(_train_all, world, world):
            assert cells
            for pieces, weights in cells.items():
                for found, wanted in zip(weights, expected, strict=True):
                    torch.testing.assert_close(
                        torch.tensor(found, dtype=torch.float64),
                        wanted,
                        rtol=0,
                        atol=1e-10,
                        msg=lambda text, p=pieces, w=world: f"{w} ranks, {p} pieces: {text}",
                    )
