"""Precision in two processes: what overflows on one rank is skipped on all."""

import pytest
import torch
from tests.distributed.ranks import run_ranks

from pytorch_lightning import Trainer
from pytorch_lightning.demos.boring_classes import BoringModel


class Overflows(BoringModel):
    """The second batch of the second rank has gradients that are not finite."""

    def __init__(self):
        super().__init__()
        self.rates = []

    def training_step(self, batch, batch_idx):
        factor = float("inf") if (batch_idx, self.global_rank) == (1, 1) else 1.0
        return self(batch).float().mean() * factor

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.5)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])


class ByHand(Overflows):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(super().training_step(batch, batch_idx))
        optimizer.step()
        self.lr_schedulers().step()


def train(kind, precision):
    torch.manual_seed(1)
    model = {"automatic": Overflows, "manual": ByHand}[kind]()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision=precision,
        max_epochs=1,
        limit_train_batches=3,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    if trainer.scaler is not None:
        trainer.scaler._init_scale = 16.0
    trainer.fit(model)
    scale = trainer.scaler.get_scale() if trainer.scaler is not None else None
    return model.rates, model.layer.weight.tolist(), scale


@pytest.mark.parametrize("kind", ["automatic", "manual"])
def test_all_ranks_skip_together(kind):
    (rates, weight, scale), other = run_ranks(train, 2, kind, "16-mixed")
    assert rates == [0.25, 0.25, 0.125]
    assert scale == 8.0
    assert (rates, weight, scale) == other
    assert torch.tensor(weight).isfinite().all()


def kinds_of_weights(precision):
    model = BoringModel()
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        precision=precision,
        max_steps=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model)
    return str(model.layer.weight.dtype), model.layer.weight.tolist()


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("32-true", "torch.float32"),
        ("64-true", "torch.float64"),
        ("bf16-mixed", "torch.float32"),
        ("bf16-true", "torch.bfloat16"),
        ("16-true", "torch.float16"),
    ],
)
def test_each_precision_trains_alike_on_both_ranks(precision, dtype):
    one, other = run_ranks(kinds_of_weights, 2, precision)
    assert one == other
    assert one[0] == dtype
