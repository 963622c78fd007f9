from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import torch

from pytorch_lightning.utilities.memory import recursive_detach
from pytorch_lightning.utilities.tree import apply_to_collection, leaves, move_data_to_device

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Frozen:
    value: int
    name: str


def test_function_is_applied_to_leaves_in_every_container():
    data = {"a": [1, "x"], "b": Pair(2, (3,)), "c": OrderedDict(z=4), "d": Frozen(5, "n")}
    assert apply_to_collection(data, int, lambda value, by: value * by, 10) == {
        "a": [10, "x"],
        "b": Pair(20, (30,)),
        "c": OrderedDict(z=40),
        "d": Frozen(50, "n"),
    }
    assert data["d"] == Frozen(5, "n")


def test_some_types_and_nones_may_be_left_out():
    assert apply_to_collection([1, True], int, lambda _: 0, wrong_dtype=bool) == [0, True]
    assert apply_to_collection([1, {"a": 2}], int, lambda _: None, include_none=False) == [{}]


def test_leaves_come_in_order():
    assert list(leaves({"a": [1, (2,)], "b": Frozen(3, "n")})) == [1, 2, 3, "n"]


def test_whatever_has_a_to_method_is_moved():
    class Own:
        def to(self, device):
            self.device = device

    own = Own()
    moved = move_data_to_device({"x": torch.zeros(1), "own": own, "name": "n"}, "cpu")
    assert moved["own"] is own
    assert own.device == torch.device("cpu")
    assert moved["name"] == "n"


def test_detach_cuts_every_graph():
    weight = torch.ones(1, requires_grad=True)
    cut = recursive_detach({"loss": [weight * 2]}, to_cpu=True)
    assert not cut["loss"][0].requires_grad
