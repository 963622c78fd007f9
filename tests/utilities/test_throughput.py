import torch
from torch import nn

from pytorch_lightning.utilities import measure_flops


def test_operations_of_a_linear_layer_are_counted_without_computing():
    with torch.device("meta"):
        model, batch = nn.Linear(3, 2), torch.randn(4, 3)
    forward = 2 * 4 * 3 * 2
    assert measure_flops(model, lambda: model(batch)) == forward
    # the gradient of the weights takes as much again; the batch needs none
    assert measure_flops(model, lambda: model(batch), lambda out: out.sum()) == 2 * forward
    assert model.weight.grad is None
