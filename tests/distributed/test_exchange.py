"""The message between ranks: what travels, and what is an error on all of them at once."""

import os

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import run_ranks

from pytorch_lightning.distributed.exchange import Exchange, Value


def _exchange():
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    return Exchange(dist.group.WORLD, rank, dist.get_world_size()), rank


def _refusal(exchange, *args, **kwargs):
    try:
        exchange.send(*args, **kwargs)
    except Exception as error:
        return type(error).__name__, str(error)
    return None


def _in_another_order():
    exchange, rank = _exchange()
    names = ["b", "a", "c"] if rank else ["c", "b", "a"]
    answer = exchange.send("logs", {name: ord(name) + 1000 * rank for name in names}, [rank, 0.5])
    return (
        answer.names,
        answer.values.tolist(),
        answer.numbers.tolist(),
        answer.weights.unique().tolist(),
    )


def test_names_in_another_order_are_the_same_names():
    for names, values, numbers, weights in run_ranks(_in_another_order, 2):
        assert names == ["a", "b", "c"]
        assert values == [[97, 98, 99], [1097, 1098, 1099]]
        assert numbers == [[0, 0.5], [1, 0.5]]
        assert weights == [1]


def _bits():
    exchange, rank = _exchange()
    value = torch.tensor(0.1, dtype=torch.float64) + rank
    answer = exchange.send("logs", {"a": value, "b": torch.tensor(3), "c": 2.0**-60, "d": 0.5})
    return answer.values.tolist(), answer.values.dtype


def test_values_travel_in_float64():
    for values, dtype in run_ranks(_bits, 2):
        assert values == [[0.1, 3, 2.0**-60, 0.5], [1.1, 3, 2.0**-60, 0.5]]
        assert dtype == torch.float64


def _missing():
    exchange, rank = _exchange()
    values = {"a": 1.0} if rank == 1 else {"a": 1.0, "b\tdetails": 2.0}
    refused = _refusal(exchange, "logs", values, where="batch 7 of epoch 0")
    after = exchange.send("logs", {"a": float(rank)})
    return refused, after.values.flatten().tolist()


def test_a_name_that_a_rank_lacks_is_an_error_on_all_and_the_next_message_is_in_step():
    for (kind, text), after in run_ranks(_missing, 3):
        assert kind == "MisconfigurationException"
        assert "`self.log('b', sync_dist=True)` was called on ranks 0, 2 but not" in text
        assert "on rank 1 (batch 7 of epoch 0)" in text and "details" not in text
        assert after == [0, 1, 2]


def _different_counts_of_values():
    exchange, rank = _exchange()
    return _refusal(exchange, "logs", {f"name {i}": 1.0 for i in range(100 * rank)})


def test_no_values_on_one_rank_and_many_on_another():
    for kind, text in run_ranks(_different_counts_of_values, 2):
        assert kind == "MisconfigurationException"
        assert "'name 0'" in text and "on rank 1 but not" in text


def _another_kind():
    exchange, rank = _exchange()
    kind, where = ("saving a checkpoint", "epoch 3") if rank else ("logged values", "batch 5")
    return _refusal(exchange, kind, {"a": 1.0}, where=where)


def test_ranks_that_do_different_things_are_named_with_what_they_do():
    for kind, text in run_ranks(_another_kind, 2):
        assert kind == "RuntimeError"
        assert "rank 0: logged values (batch 5); rank 1: saving a checkpoint (epoch 3)" in text


def _names_that_some_lack():
    exchange, rank = _exchange()
    values = {"all": float(rank)}
    if rank == 1:
        values["only 1"] = Value(5.0, 2.0, needed_of=(1,), note={"reduce": "sum"})
    answer = exchange.send("logs", values, [7.0])
    return answer.names, answer.values.tolist(), answer.weights.tolist(), answer.notes


def test_a_name_that_is_not_needed_everywhere_weighs_nothing_elsewhere():
    for rank, (names, values, weights, notes) in enumerate(run_ranks(_names_that_some_lack, 3)):
        assert names == ["all", "only 1"]
        assert values == [[0, 0], [1, 5], [2, 0]]
        assert weights == [[1, 0], [1, 2], [1, 0]]
        assert notes == ({} if rank == 1 else {"only 1": {"reduce": "sum"}})


class _Collectives(torch.autograd.profiler.profile):
    """Counts what torch.distributed sends."""

    @property
    def count(self):
        return sum(event.name.startswith("gloo:") for event in self.function_events)


def _how_many():
    exchange, rank = _exchange()
    counts = []
    for values in ({}, {f"{i}": float(i) for i in range(50)}, {f"{rank}": Value(1.0, 1.0, ())}):
        with _Collectives() as seen:
            exchange.send("logs", values, [1.0])
        counts.append(seen.count)
    return counts


def test_a_message_is_two_collectives_whatever_it_holds():
    assert run_ranks(_how_many, 2) == [[1, 2, 4]] * 2


def _numbers_of_every_kind():
    exchange, _ = _exchange()
    numbers = [float("inf"), float("nan"), -0.0, 1e-300, 2.0**53 + 2, 0, 1, 8]
    return exchange.send("logs", {}, numbers).numbers[1].tolist()


def test_numbers_arrive_as_they_are():
    for found in run_ranks(_numbers_of_every_kind, 2):
        assert found[0] == float("inf") and found[1] != found[1]
        assert found[2:] == [0, 1e-300, 2.0**53 + 2, 0, 1, 8]


def test_more_than_eight_numbers_are_refused_before_anything_is_sent():
    with pytest.raises(ValueError, match="at most 8 numbers, got 9"):
        Exchange(None, 0, 1).send("logs", {}, range(9))


def _alone():
    exchange, _ = _exchange()
    return exchange.send("logs", {"a": 3.0}).values.tolist(), os.environ["WORLD_SIZE"]


def test_a_world_of_one():
    assert run_ranks(_alone, 1) == [([[3.0]], "1")]
