"""What processes that end with an entry point bring home to the one that goes on."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

QUIET = dict(
    accelerator="cpu",
    devices=2,
    logger=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


class Line(pl.LightningModule):
    def __init__(self, fails=None):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2, 1)
        self.fails = fails

    def training_step(self, batch, batch_idx):
        if self.fails is not None and self.global_rank == 1:
            raise self.fails("on the second rank")
        loss = self.layer(batch[0]).pow(2).mean()
        self.log("loss", loss, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", self.layer(batch[0]).pow(2).mean(), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return batch[0].sum(1)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(count=8):
    x = torch.arange(2.0 * count).reshape(count, 2) / 10
    return DataLoader(TensorDataset(x), batch_size=2)


def _fit(start, folder):
    checkpoint = ModelCheckpoint(dirpath=folder, monitor="val", save_top_k=1)
    stopping = EarlyStopping("val", patience=5)
    trainer = pl.Trainer(strategy=start, max_epochs=2, callbacks=[checkpoint, stopping], **QUIET)
    module = Line()
    before = module.layer.weight.detach().clone()
    trainer.fit(module, loader(), loader())
    assert not torch.equal(module.layer.weight, before)
    return trainer, module, checkpoint, stopping


@pytest.mark.parametrize("start", ["ddp_fork", "ddp_spawn"])
def test_a_fit_comes_home(start, tmp_path):
    trainer, module, checkpoint, stopping = _fit(start, tmp_path)
    assert (trainer.global_step, trainer.current_epoch) == (4, 2)
    assert trainer.state.finished
    assert set(trainer.callback_metrics) >= {"loss", "loss_epoch", "val"}
    saved = torch.load(checkpoint.best_model_path, weights_only=True)
    assert torch.equal(saved["state_dict"]["layer.weight"], module.layer.weight)
    assert checkpoint.best_model_score == trainer.callback_metrics["val"]
    assert stopping.best_score == trainer.callback_metrics["val"]
    assert trainer.lightning_module is module
    assert all(parameter.device.type == "cpu" for parameter in module.parameters())


def test_the_same_trainer_starts_processes_again(tmp_path):
    trainer, module, _, _ = _fit("ddp_fork", tmp_path)
    before = module.layer.weight.detach().clone()
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module, loader(), loader())
    assert trainer.current_epoch == 4
    assert not torch.equal(module.layer.weight, before)
    found = trainer.validate(module, loader(), verbose=False)
    assert found[0]["val"] == pytest.approx(trainer.callback_metrics["val"].item())


def test_predictions_come_home_when_asked_for(tmp_path):
    trainer = pl.Trainer(strategy="ddp_fork", **QUIET)
    found = trainer.predict(Line(), loader(7), return_predictions=True)
    expected = [batch[0].sum(1) for batch in loader(7)]
    assert len(found) == 4
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


class Own(Exception):
    """An error of a user's program."""


@pytest.mark.parametrize("error", [ValueError, Own])
def test_an_error_comes_home_as_what_it_was(error):
    trainer = pl.Trainer(strategy="ddp_fork", max_epochs=1, enable_checkpointing=False, **QUIET)
    with pytest.raises(error, match="on the second rank"):
        trainer.fit(Line(fails=error), loader())
