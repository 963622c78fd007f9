"""Runs of two ranks that were saved at any place go on as if never stopped, on two ranks or one."""

import os
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping

torchmetrics = pytest.importorskip("torchmetrics")


def world():
    return int(os.environ.get("WORLD_SIZE", "1"))


class Model(pl.LightningModule):
    """Metric objects, values of epochs, a plateau scheduler."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1).double()
        self.trained = torchmetrics.MeanMetric().set_dtype(torch.float64)
        self.validated = torchmetrics.MeanMetric().set_dtype(torch.float64)
        self.found = []

    def loss(self, batch):
        return (self.layer(batch[0]) - 1).square().mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.trained.update(batch[0])
        self.log("trained", self.trained, on_step=False, on_epoch=True)
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.validated.update(batch[0] * (1 + self.current_epoch))
        self.log("validated", self.validated)
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def on_train_epoch_end(self):
        optimizer = self.optimizers()
        optimizer = optimizer[0] if isinstance(optimizer, list) else optimizer
        self.found.append([self.current_epoch, optimizer.param_groups[0]["lr"]])

    def on_validation_end(self):
        metrics = self.trainer.callback_metrics
        self.found.append({name: metrics[name].item() for name in ("validated", "val_loss")})

    def on_train_end(self):
        metrics = self.trainer.callback_metrics
        self.found.append({name: metrics[name].item() for name in sorted(metrics)})

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.5)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return [optimizer], [{"scheduler": plateau, "monitor": "val_loss"}]


class Manual(Model):
    """Two optimizers, by hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(1, 1).double()

    def training_step(self, batch, batch_idx):
        for optimizer, layer in zip(self.optimizers(), (self.layer, self.other), strict=True):
            loss = (layer(batch[0]) + self.other(batch[0]).detach() - 1).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss + 0 * sum(p.sum() for p in self.parameters()))
            optimizer.step()
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        self.trained.update(batch[0])
        self.log("trained", self.trained, on_step=False, on_epoch=True)

    def configure_optimizers(self):
        layers = (self.layer, self.other)
        return [torch.optim.Adam(layer.parameters(), lr=0.1) for layer in layers]


class Saves(pl.Callback):
    """A file at each of the places that a run comes by."""

    def __init__(self, folder):
        self.folder = folder

    def save(self, trainer, place):
        if self.folder is not None and not trainer.sanity_checking:
            path = Path(self.folder, f"{trainer.current_epoch}-{trainer.global_step}-{place}.ckpt")
            trainer.save_checkpoint(path)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx % 2 == 0:
            self.save(trainer, f"batch{batch_idx}")

    def on_validation_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 1:  # in the last round one rank has no batch: there it is an error
            self.save(trainer, f"val{batch_idx}")

    def on_validation_end(self, trainer, module):
        self.save(trainer, "validated")

    def on_train_epoch_end(self, trainer, module):
        self.save(trainer, "epoch")


def fit(kind, folder=None, path=None):
    model = {"manual": Manual}.get(kind, Model)()
    stopper = EarlyStopping("val_loss", patience=1, check_on_train_epoch_end=False)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=world(),
        strategy="ddp" if world() > 1 else "auto",
        max_epochs=4,
        accumulate_grad_batches=3 if kind == "accumulated" else 1,
        val_check_interval=2 if kind == "often" else None,
        callbacks=[stopper, Saves(folder)],
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    train = TensorDataset(torch.arange(16.0).double().unsqueeze(1) / 16)
    val = TensorDataset(torch.arange(5.0).double().unsqueeze(1) / 5)
    loaders = DataLoader(train, 4 // world()), DataLoader(val, 1)
    trainer.fit(model, *loaders, ckpt_path=path)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()
    ends = trainer.global_step, trainer.current_epoch, stopper.wait_count, stopper.stopped_epoch
    return {"found": model.found, "weights": weights, "ends": ends}


KINDS = ("plain", "often", "accumulated", "manual")


def _save_and_go_on(folder):
    whole, again = {}, {}
    for kind in KINDS:
        own = Path(folder, kind)
        own.mkdir(exist_ok=True)
        whole[kind] = fit(kind, own)
        again[kind] = {path.name: fit(kind, path=path) for path in sorted(own.iterdir())}
    return whole, again


def _go_on(folder):
    return {
        kind: {path.name: fit(kind, path=path) for path in sorted(Path(folder, kind).iterdir())}
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return folder, run_ranks(_save_and_go_on, 2, str(folder), limit=120)


def _close(found, expected):
    """Equal up to the rounding of float64."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(_close(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return all(_close(*pair) for pair in zip(found, expected, strict=True))
    return found == pytest.approx(expected, abs=1e-12)


def _rest(whole, again):
    """What the whole run found, as far as the other did."""
    return {**whole, "found": whole["found"][-len(again["found"]) :]}


@pytest.mark.parametrize("kind", KINDS)
def test_as_many_ranks_go_on_from_every_place(of_two, kind):
    for whole, again in of_two[1]:
        assert len(again[kind]) >= 10
        for place, found in again[kind].items():
            assert found == _rest(whole[kind], found), place


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_one_process_goes_on_where_two_were(of_two, kind):
    folder, ((whole, _), _) = of_two
    for path in sorted((folder / kind).iterdir()):
        found = fit(kind, path=path)
        assert _close(found, _rest(whole[kind], found)), path.name


@pytest.mark.filterwarnings("ignore")
def test_two_processes_go_on_where_one_was(tmp_path):
    whole, _ = _save_and_go_on(tmp_path)
    for of_rank in run_ranks(_go_on, 2, str(tmp_path), limit=60):
        for kind in KINDS:
            for place, found in of_rank[kind].items():
                assert _close(found, _rest(whole[kind], found)), (kind, place)
