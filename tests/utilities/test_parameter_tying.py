import torch
from torch import nn

from pytorch_lightning.utilities import find_shared_parameters, set_shared_parameters


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.head = nn.Linear(2, 2)
        self.head.weight = self.inner[0].weight
        self.again = self.inner[1]


def test_shared_parameters_are_found_by_all_their_names():
    assert find_shared_parameters(Tied()) == [
        ["inner.0.weight", "head.weight"],
        ["inner.1.weight", "again.weight"],
        ["inner.1.bias", "again.bias"],
    ]
    assert find_shared_parameters(nn.Linear(1, 1)) == []


def test_what_was_torn_apart_is_shared_again():
    module = Tied()
    groups = find_shared_parameters(module)
    module.head.weight = nn.Parameter(torch.zeros(2, 2))
    assert find_shared_parameters(module) != groups
    assert set_shared_parameters(module, groups) is module
    assert find_shared_parameters(module) == groups
    assert module.head.weight is module.inner[0].weight
