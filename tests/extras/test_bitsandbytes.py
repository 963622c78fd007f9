"""Ten steps above layers that bitsandbytes quantized; skipped where the package is missing."""

import pytest
import torch
from torch import nn

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.plugins import BitsandbytesPrecision

pytestmark = pytest.mark.extras
pytest.importorskip("bitsandbytes")


class Model(LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32))
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 1)
        self.losses = []

    def training_step(self, batch, batch_idx):
        output = self.head(self.norm(self.body(batch)))
        loss = nn.functional.mse_loss(output, batch.sum(1, keepdim=True))
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], 0.003)


@pytest.mark.parametrize(
    ("mode", "kind", "dtype"),
    [
        ("nf4", "Linear4bit", torch.uint8),
        ("nf4-dq", "Linear4bit", torch.uint8),
        ("fp4", "Linear4bit", torch.uint8),
        ("fp4-dq", "Linear4bit", torch.uint8),
        ("int8", "Linear8bitLt", torch.int8),
        ("int8-training", "Linear8bitLt", None),
    ],
)
def test_a_head_learns_above_a_quantized_body(mode, kind, dtype, tmp_path):
    model = Model()
    torch.manual_seed(5)
    trainer = Trainer(
        accelerator="cpu",
        plugins=BitsandbytesPrecision(mode, ignore_modules={"head"}),
        max_steps=10,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(model, [torch.randn(16, 32)] * 10)
    assert type(model.body[0]).__name__ == kind
    assert type(model.head) is nn.Linear
    weight = model.body[0].weight
    assert weight.requires_grad == (mode == "int8-training")
    assert dtype is None or weight.dtype == dtype
    assert model.losses[-1] < model.losses[0]
