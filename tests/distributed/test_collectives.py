"""Reducing, gathering, sending objects: every kind of input, and ranks that differ."""

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import run_ranks
from torch import Tensor

from pytorch_lightning.distributed import collectives, headers
from pytorch_lightning.utilities.tree import map_leaves


def _rank():
    dist.init_process_group("gloo")
    return dist.get_rank()


def _listed(tree):
    return map_leaves(tree, Tensor, lambda t: (t.tolist(), str(t.dtype), tuple(t.shape)))


# --- reducing -------------------------------------------------------------------------------------


def _operations():
    rank = _rank()
    spellings = [None, "sum", "SUM", dist.ReduceOp.SUM, "mean", "avg", "Mean", dist.ReduceOp.AVG]
    spellings += ["max", dist.ReduceOp.MAX, "min", "product", "prod"]
    return [
        collectives.reduce(torch.tensor([2.0 + 2 * rank]), reduce_op=op).item() for op in spellings
    ]


def test_every_spelling_of_an_operation():
    expected = [6.0] * 4 + [3.0] * 4 + [4.0] * 2 + [2.0] + [8.0] * 2
    assert run_ranks(_operations, 2) == [expected] * 2


def test_another_word_is_an_error_that_names_the_nearest():
    with pytest.raises(ValueError, match=r"`reduce_op='means'`: pass 'mean'.* mean 'mean'\?"):
        collectives.reduce(torch.ones(1), reduce_op="means")


def _kinds():
    rank = _rank()
    inputs = {
        "scalar": torch.tensor(1.0 + rank),
        "whole": torch.tensor([1, 2]) * (rank + 1),
        "yes": torch.tensor([True, rank == 0]),
        "half": torch.tensor([1.0 + rank], dtype=torch.bfloat16),
        "turned": torch.arange(4.0).reshape(2, 2).t() * (rank + 1),
        "none": torch.zeros(0, 3),
        "leaf": torch.ones(1, requires_grad=True),
        "text": "kept",
        "pair": (torch.tensor([rank]), 3),
    }
    sums = collectives.reduce(map_leaves(inputs, Tensor, torch.clone), reduce_op="sum")
    means = collectives.reduce(map_leaves(inputs, Tensor, torch.clone))
    return _listed(sums), _listed(means)


def test_every_kind_of_tensor():
    for sums, means in run_ranks(_kinds, 2):
        assert sums["scalar"] == (3.0, "torch.float32", ())
        assert sums["whole"] == ([3, 6], "torch.int64", (2,))
        assert sums["yes"] == ([True, True], "torch.bool", (2,))
        assert sums["turned"] == ([[0, 6], [3, 9]], "torch.float32", (2, 2))
        assert sums["none"] == ([], "torch.float32", (0, 3))
        assert sums["text"] == "kept" and sums["pair"] == (([1], "torch.int64", (1,)), 3)
        assert means["scalar"] == (1.5, "torch.float32", ())
        assert means["whole"] == ([1.5, 3.0], "torch.float32", (2,))
        assert means["yes"] == ([1.0, 0.5], "torch.float32", (2,))
        assert means["half"] == ([1.5], "torch.bfloat16", (1,))
        assert means["leaf"] == ([1.0], "torch.float32", (1,))


def _in_place():
    rank = _rank()
    plain = torch.tensor([1.0, 2.0]) * (rank + 1)
    turned = (torch.arange(4.0).reshape(2, 2) * (rank + 1)).t()
    same = collectives.reduce(plain, reduce_op="sum") is plain
    summed = collectives.sync_ddp(turned) is turned
    return same, plain.tolist(), summed, turned.tolist()


def test_it_happens_in_place():
    assert run_ranks(_in_place, 2) == [(True, [3.0, 6.0], True, [[0, 6], [3, 9]])] * 2


def _groups():
    rank = _rank()
    pair = dist.new_group([0, 2])
    if rank == 1:
        return None
    value = collectives.reduce(torch.tensor(float(rank)), pair, "mean").item()
    gathered = collectives.all_gather(torch.tensor(float(rank)), pair).tolist()
    try:
        collectives.all_gather(torch.zeros(rank), pair)
    except ValueError as error:
        return value, gathered, str(error)
    return None


def test_a_group_is_its_members_alone_and_errors_name_their_ranks():
    first, outside, last = run_ranks(_groups, 3)
    assert outside is None and first == last
    assert first[:2] == (1.0, [0.0, 2.0])
    assert "rank 0: float32 of shape (0,); rank 2: float32 of shape (2,)" in first[2]


# --- gathering ------------------------------------------------------------------------------------


def _gathering():
    rank = _rank()
    tree = {
        "scalar": torch.tensor(float(rank)),
        "yes": torch.tensor([rank == 1]),
        "turned": torch.arange(6).reshape(2, 3).t() + rank,
        "half": torch.tensor([rank], dtype=torch.float16),
        "numbers": [rank, rank / 2, rank == 0],
        "text": "kept",
        "none": torch.zeros(0),
    }
    return _listed(collectives.all_gather(tree))


def test_a_tree_is_gathered_leaf_by_leaf():
    for found in run_ranks(_gathering, 2):
        assert found["scalar"] == ([0.0, 1.0], "torch.float32", (2,))
        assert found["yes"] == ([[False], [True]], "torch.bool", (2, 1))
        assert found["turned"][0] == [[[0, 3], [1, 4], [2, 5]], [[1, 4], [2, 5], [3, 6]]]
        assert found["half"] == ([[0.0], [1.0]], "torch.float16", (2, 1))
        assert [part[0] for part in found["numbers"]] == [[0, 1], [0, 0.5], [True, False]]
        assert found["text"] == "kept" and found["none"][2] == (2, 0)


def _differences():
    rank = _rank()
    said = []
    for tree in (
        torch.zeros(2, 3 + rank),
        torch.zeros(2, dtype=torch.float64 if rank else torch.float32),
        [torch.zeros(1)] * (1 + rank),
        {"a": torch.zeros(1), "b": torch.zeros(2)} if rank else {"b": torch.zeros(2)},
    ):
        try:
            collectives.all_gather(tree)
        except ValueError as error:
            said.append(str(error))
    return said, collectives.all_gather(torch.tensor(rank)).tolist()


def test_ranks_that_differ_get_one_error_with_the_shapes_of_all():
    for said, after in run_ranks(_differences, 2, limit=20):
        assert len(said) == 4 and after == [0, 1]
        assert "(rank 0: float32 of shape (2, 3); rank 1: float32 of shape (2, 4))" in said[0]
        assert "rank 1: float64 of shape (2,)" in said[1]
        assert "rank 1: float32 of shape (1,), float32 of shape (1,)" in said[2]


def _gradients():
    rank = _rank()
    x = torch.ones(2, requires_grad=True)
    kept = collectives.all_gather({"x": x * (rank + 1)}, sync_grads=True)["x"]
    (kept * torch.tensor([[1.0], [10.0]]) * (rank + 1)).sum().backward()
    plain = collectives.all_gather(x)
    return kept.tolist(), x.grad.tolist(), plain.requires_grad


def test_gradients_flow_back_to_where_each_part_came_from():
    first, second = run_ranks(_gradients, 2)
    assert first == ([[1, 1], [2, 2]], [3, 3], False)  # both ranks' weights: 1 + 2
    assert second == ([[1, 1], [2, 2]], [60, 60], False)  # 2 * 10 * (1 + 2)


def _different_sizes():
    rank = _rank()
    uneven = collectives.gather_all_tensors(torch.full((rank + 1, 3 - rank), rank))
    scalar = collectives.gather_all_tensors(torch.tensor(float(rank)))
    try:
        collectives.gather_all_tensors(torch.zeros([1] * rank))
    except ValueError as error:
        return [t.tolist() for t in uneven], [t.item() for t in scalar], str(error)
    return None


def test_tensors_of_different_sizes_come_as_a_list():
    for uneven, scalar, said in run_ranks(_different_sizes, 2):
        assert uneven == [[[0, 0, 0]], [[1, 1], [1, 1]]]
        assert scalar == [0.0, 1.0]
        assert "the shapes (), (1,), by rank" in said


# --- objects and decisions ------------------------------------------------------------------------


def _objects():
    rank = _rank()
    gathered = collectives.gather_objects({"rank": rank})
    given = collectives.broadcast_object([rank, "x"], src=1)
    votes = [collectives.agree(rank < n, all=every) for n in (0, 1, 2) for every in (True, False)]
    texts = headers.gather_texts("\u00e9" * 3 * rank)
    return gathered, given, votes, texts, collectives.distributed_available()


def test_objects_texts_and_decisions():
    for gathered, given, votes, texts, available in run_ranks(_objects, 2):
        assert gathered == [{"rank": 0}, {"rank": 1}] and given == [1, "x"]
        assert votes == [False, False, False, True, True, True]
        assert texts == ["", "\u00e9" * 3] and available


def test_without_a_group_nothing_is_available():
    assert not collectives.distributed_available()


def test_older_paths_answer_with_the_same_functions():
    from pytorch_lightning.utilities import AllGatherGrad
    from pytorch_lightning.utilities.distributed import gather_all_tensors, sync_ddp

    assert AllGatherGrad is collectives.AllGatherGrad
    assert gather_all_tensors is collectives.gather_all_tensors
    assert sync_ddp is collectives.sync_ddp
