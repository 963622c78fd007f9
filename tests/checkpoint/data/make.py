"""Make the golden files by running a release of PyTorch Lightning.

Run it in an environment that has the release, and for 1.x also `numpy<2 setuptools<81
torchmetrics<0.12 omegaconf`:

    python make.py OUTPUT_FOLDER
"""

import argparse
import importlib.util
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl

warnings.filterwarnings("ignore")


class Golden(pl.LightningModule):
    def __init__(self, width=3, lr=0.05, folder=None, options=None, sizes=(1, 2)):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, width)
        self.head = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.layer(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", torch.nn.functional.mse_loss(self(x), y))

    def lr_scheduler_step(self, scheduler, *args):
        scheduler.step()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


class Container(Golden):
    """Keeps one container of hyperparameters instead of single ones."""

    def __init__(self, conf):
        pl.LightningModule.__init__(self)
        self.save_hyperparameters(conf)
        self.layer = torch.nn.Linear(2, conf.width)
        self.head = torch.nn.Linear(conf.width, 1)


def loader():
    x = torch.arange(12, dtype=torch.float32).reshape(6, 2) / 10
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=1)


def train(module, folder, **arguments):
    pl.seed_everything(1)
    keep = pl.callbacks.ModelCheckpoint(folder, monitor="val_loss", save_last=True)
    stop = pl.callbacks.EarlyStopping("val_loss", patience=5)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[keep, stop], default_root_dir=folder, **arguments
    )  # fmt: skip
    trainer.fit(module, loader(), loader())
    return trainer


def main(output):
    release = pl.__version__
    with tempfile.TemporaryDirectory() as folder:
        module = Golden(folder=Path("data/set"), options=argparse.Namespace(depth=2, name="a"))
        trainer = train(module, folder, max_epochs=2)
        trainer.save_checkpoint(output / f"{release}-end.ckpt")
        trainer.save_checkpoint(output / f"{release}-weights.ckpt", weights_only=True)
        shutil.copy(Path(folder) / "last.ckpt", output / f"{release}-last.ckpt")
        trainer = train(Golden(), folder, max_epochs=2, max_steps=8)
        trainer.save_checkpoint(output / f"{release}-middle.ckpt")
        if importlib.util.find_spec("omegaconf") is None:
            return
        from omegaconf import OmegaConf

        conf = OmegaConf.create({"width": 3, "lr": 0.05, "deep": {"list": [1, "two"], "no": None}})
        trainer = train(Container(conf), folder, max_epochs=1)
        trainer.save_checkpoint(output / f"{release}-omegaconf.ckpt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
