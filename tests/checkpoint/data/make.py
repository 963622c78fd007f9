"""Make the golden files by running a release of PyTorch Lightning.

Run it in an environment that has the release: any Python and torch in which it can be imported.
With Python 3.11 and torch 2.13, 1.0.8 to 1.9.5 also need `numpy<2 setuptools<81 torchmetrics<0.12
omegaconf future`, 1.3 and 1.4 `torchmetrics==0.5.1`, 1.8 `tensorboardX`; 2.0 to 2.6 need
`torchmetrics omegaconf`:

    python make.py OUTPUT_FOLDER [KIND ...]
"""

import argparse
import importlib
import importlib.util
import inspect
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import tqdm.auto  # noqa: F401 - 1.3 and 1.4 take it to be loaded
from torch.optim.lr_scheduler import StepLR, _LRScheduler
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl

warnings.filterwarnings("ignore")
RELEASE = tuple(int(part) for part in pl.__version__.split(".")[:2])


class Halving(StepLR, _LRScheduler):
    """A scheduler that early releases know as one under today's torch."""


class Golden(pl.LightningModule):
    def __init__(self, width=3, lr=0.05, folder=None, options=None, sizes=(1, 2)):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, width)
        self.head = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.head(self.layer(x))

    def loss(self, batch):
        x, y = batch
        return torch.nn.functional.mse_loss(self(x), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def lr_scheduler_step(self, scheduler, *args):
        scheduler.step()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        kind = StepLR if RELEASE >= (1, 6) else Halving
        return [optimizer], [kind(optimizer, 2)]


class Container(Golden):
    """Keeps one container of hyperparameters instead of single ones."""

    def __init__(self, conf):
        pl.LightningModule.__init__(self)
        self.save_hyperparameters(conf)
        self.layer = torch.nn.Linear(2, conf.width)
        self.head = torch.nn.Linear(conf.width, 1)


class Several(Golden):
    """Two optimizers that the releases before 2.0 step one after the other."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        first = torch.optim.SGD(self.layer.parameters(), lr=self.hparams.lr)
        second = torch.optim.Adam(self.head.parameters(), lr=self.hparams.lr)
        return [first, second]


class Manual(Golden):
    """Two optimizers that the module steps itself, and something of its own in the file."""

    def __init__(self, width=3, lr=0.05, nested=None, folder=None, options=None, sizes=(1, 2)):
        super().__init__(width, lr)
        self.save_hyperparameters()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.step_all(batch)

    if RELEASE < (1, 5):

        def training_step(self, batch, batch_idx, optimizer_idx=None):
            self.step_all(batch)

    def step_all(self, batch):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

    def configure_optimizers(self):
        return Several.configure_optimizers(self)

    def on_save_checkpoint(self, checkpoint):
        checkpoint["own"] = {"seen": [1, 2.5, "three"], "tensor": torch.arange(3)}


class Data(pl.LightningDataModule):
    def __init__(self, batch_size=1, root=None):
        super().__init__()
        if hasattr(self, "save_hyperparameters"):
            self.save_hyperparameters()

    def train_dataloader(self):
        return loader()

    val_dataloader = train_dataloader


def loader():
    x = torch.arange(12, dtype=torch.float32).reshape(6, 2) / 10
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=1)


def train(module, folder, data=None, **arguments):
    pl.seed_everything(1)
    kinds = inspect.signature(pl.callbacks.ModelCheckpoint.__init__).parameters
    where = {"dirpath" if "dirpath" in kinds else "filepath": str(folder)}
    keep = pl.callbacks.ModelCheckpoint(monitor="val_loss", save_last=True, **where)
    stop = pl.callbacks.EarlyStopping("val_loss", patience=5)
    wanted = {
        "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "callbacks": [keep, stop], "default_root_dir": folder,
        "progress_bar_refresh_rate": 0, "weights_summary": None, **arguments,
    }  # fmt: skip
    if RELEASE < (1, 6):  # they take no "cpu", and warn of arguments that are on their way out
        wanted.pop("accelerator")
        wanted.pop("devices")
    if RELEASE < (1, 3):
        wanted["checkpoint_callback"] = True
    known = inspect.signature(pl.Trainer.__init__).parameters
    trainer = pl.Trainer(**{key: value for key, value in wanted.items() if key in known})
    if data is None:
        trainer.fit(module, loader(), loader())
    else:
        trainer.fit(module, datamodule=data)
    return trainer


def usual(folder, output):
    options = argparse.Namespace(depth=2, name="a")
    trainer = train(Golden(folder=Path("data/set"), options=options), folder, max_epochs=2)
    trainer.save_checkpoint(f"{output}-end.ckpt")
    trainer.save_checkpoint(f"{output}-weights.ckpt", weights_only=True)
    shutil.copy(Path(folder) / "last.ckpt", f"{output}-last.ckpt")


def middle(folder, output):
    train(Golden(), folder, max_epochs=2, max_steps=8).save_checkpoint(f"{output}-middle.ckpt")


def omegaconf(folder, output):
    if importlib.util.find_spec("omegaconf") is None or RELEASE < (1, 6):
        return
    from omegaconf import OmegaConf

    conf = OmegaConf.create({"width": 3, "lr": 0.05, "deep": {"list": [1, "two"], "no": None}})
    train(Container(conf), folder, max_epochs=1).save_checkpoint(f"{output}-omegaconf.ckpt")


def several(folder, output):
    if RELEASE < (2, 0):
        trainer = train(Several(), folder, max_epochs=2, max_steps=16)
        trainer.save_checkpoint(f"{output}-several.ckpt")


def manual(folder, output):
    if RELEASE < (1, 2):  # `manual_backward` took the optimizer, too
        return
    parsing = importlib.import_module("pytorch_lightning.utilities.parsing")
    nested = {"deep": parsing.AttributeDict(a=1, b=[Path("x"), {"c": (2.0, None)}])}
    module = Manual(
        nested=nested, folder=Path("data/set"), options=argparse.Namespace(depth=2, name="a")
    )
    # 1.3 to 1.5 look for names of their stages that Python 3.11 spells otherwise
    data = None if (1, 3) <= RELEASE <= (1, 5) else Data(2, Path("root"))
    trainer = train(module, folder, data, max_epochs=2)
    trainer.save_checkpoint(f"{output}-manual.ckpt")


def scaler(folder, output):
    """Mixed precision: its scaler is in the file."""
    if RELEASE < (2, 0):
        return
    kind = "MixedPrecision" if RELEASE >= (2, 1) else "MixedPrecisionPlugin"
    plugin = getattr(pl.plugins, kind)("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu"))
    trainer = train(Golden(), folder, max_epochs=1, plugins=[plugin])
    trainer.save_checkpoint(f"{output}-scaler.ckpt")


KINDS = {"usual": usual, "middle": middle, "omegaconf": omegaconf, "several": several,
         "manual": manual, "scaler": scaler}  # fmt: skip


def main(output, kinds):
    for kind in kinds or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            KINDS[kind](folder, output / pl.__version__)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
