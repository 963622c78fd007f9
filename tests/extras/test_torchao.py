"""Ten steps with layers that torchao quantized or trains in 8 bits; `make test-extras` runs it."""

import pytest
import torch
from torch import nn

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import TorchAOPrecision

pytestmark = pytest.mark.extras
torchao = pytest.importorskip("torchao")


class Model(LightningModule):
    """A frozen body, a trained head."""

    def __init__(self, *, frozen=True):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.head = nn.Linear(32, 1)
        self.body.requires_grad_(not frozen)
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self.head(self.body(batch)), batch.sum(1, keepdim=True))
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, 0.01)


def train(model, precision, folder):
    torch.manual_seed(5)
    data = [torch.randn(16, 32)] * 10
    trainer = Trainer(
        accelerator="cpu",
        plugins=precision,
        max_steps=10,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, data)
    assert trainer.global_step == len(model.losses) == 10
    assert model.losses[-1] < model.losses[0]
    return trainer


def only_body(layer, name):
    return isinstance(layer, nn.Linear) and name.startswith("body")


def test_a_body_of_8_bits_below_a_head_that_learns(tmp_path):
    from torchao.quantization import Int8WeightOnlyConfig

    model = Model()
    head = model.head.weight.detach().clone()
    train(model, TorchAOPrecision(Int8WeightOnlyConfig(), only_body), tmp_path)
    assert "8" in type(model.body[0].weight).__name__ + str(model.body[0].weight)
    assert type(model.head.weight) is nn.Parameter
    assert not torch.equal(model.head.weight, head)


def test_training_that_is_aware_of_8_bits(tmp_path):
    from torchao.quantization import Int8DynamicActivationIntxWeightConfig, PerGroup
    from torchao.quantization.qat import QATConfig

    model = Model(frozen=False)
    body = model.body[0].weight.detach().clone()
    eight = Int8DynamicActivationIntxWeightConfig(torch.int8, PerGroup(32))
    config = QATConfig(eight, step="prepare")
    train(model, TorchAOPrecision(config, only_body), tmp_path)
    assert type(model.body[0]).__name__ == "FakeQuantizedLinear"
    assert not torch.equal(model.body[0].weight, body)


def test_products_in_float8(tmp_path):
    from torchao.float8 import Float8LinearConfig

    model = Model(frozen=False)
    config = Float8LinearConfig(emulate=True)  # a CPU has no such instructions
    train(model, TorchAOPrecision(config, only_body), tmp_path)
    assert type(model.body[0]).__name__ == "Float8Linear"
    assert type(model.head) is nn.Linear


def test_a_layer_that_learned_is_saved_and_loaded(tmp_path):
    from torchao.float8 import Float8LinearConfig

    model = Model(frozen=False)
    config = Float8LinearConfig(emulate=True)
    trainer = train(model, TorchAOPrecision(config, only_body), tmp_path)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = Model.load_from_checkpoint(tmp_path / "a.ckpt", frozen=False)
    assert torch.equal(again.body[0].weight, model.body[0].weight)
