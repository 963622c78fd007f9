import pytest
import torch
from torch import nn

from pytorch_lightning.utilities.compile import from_compiled, is_compiled, to_uncompiled


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch):
        return self(batch).sum()

    def validation_step(self, batch):
        return self(batch).sum()

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return None


def test_steps_run_compiled_and_back():
    model, batch = Net(), torch.ones(1, 2)
    expected = model.training_step(batch)
    compiled = torch.compile(model, backend="eager")
    assert from_compiled(compiled) is model
    assert is_compiled(model)
    assert torch.equal(model.training_step(batch), expected)
    assert set(dict(model.named_parameters())) == {"layer.weight", "layer.bias"}
    assert to_uncompiled(model) is model
    assert not is_compiled(model)
    assert "training_step" not in vars(model)
    assert torch.equal(model.training_step(batch), expected)


def test_a_wrapper_is_taken_off():
    model = Net()
    assert to_uncompiled(torch.compile(model, backend="eager")) is model


def test_other_things_are_refused():
    with pytest.raises(ValueError, match="pass what `torch.compile"):
        from_compiled(Net())
    with pytest.raises(ValueError, match="holds a `Linear`"):
        from_compiled(torch.compile(nn.Linear(1, 1), backend="eager"))
    with pytest.raises(ValueError, match="was not compiled"):
        to_uncompiled(Net())
    with pytest.raises(ValueError, match="pass a LightningModule"):
        to_uncompiled(5)
