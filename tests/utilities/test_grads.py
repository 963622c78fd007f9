import pytest
import torch
from torch import nn

from pytorch_lightning.utilities import grad_norm


def layer_with_gradients():
    layer = nn.Linear(2, 1)
    layer(torch.tensor([[3.0, 4.0]])).sum().backward()  # gradients (3, 4) and 1
    return layer


def test_norms_of_each_gradient_and_of_all():
    norms = grad_norm(layer_with_gradients(), 2)
    assert {name: round(value.item(), 4) for name, value in norms.items()} == {
        "grad_2.0_norm/weight": 5.0,
        "grad_2.0_norm/bias": 1.0,
        "grad_2.0_norm_total": 5.099,
    }


@pytest.mark.parametrize(("kind", "total"), [(1, 8.0), ("inf", 4.0), (float("inf"), 4.0)])
def test_other_norms(kind, total):
    norms = grad_norm(layer_with_gradients(), kind, group_separator=".")
    label = "inf" if total == 4.0 else "1.0"
    assert f"grad_{label}_norm.weight" in norms
    assert norms[f"grad_{label}_norm_total"].item() == total


def test_no_gradients_no_norms():
    assert grad_norm(nn.Linear(1, 1), 2) == {}


@pytest.mark.parametrize("kind", [0, -1, "nan"])
def test_norm_type_must_be_positive(kind):
    with pytest.raises(ValueError, match=f"`norm_type={kind!r}`"):
        grad_norm(nn.Linear(1, 1), kind)
