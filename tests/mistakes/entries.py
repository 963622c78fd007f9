"""Mistakes at the entry points: what is passed, loaders, checkpoints."""

import os
from pathlib import Path

import torch
from tests.mistakes.case import Mistake, Module, fit, plain, rows, seen, spoiled, stream, trainer

import pytorch_lightning as pl
from pytorch_lightning.utilities import CombinedLoader
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.exceptions import MisconfigurationException as Bad


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return rows()


class NoData(pl.LightningDataModule):
    """Has no loader at all."""


def _gives(loader):
    return lambda self: loader


def _fit_on(loader, **options):
    trainer(**options).fit(spoiled(train_dataloader=_gives(loader)))


GIVEN = [
    Mistake("a class", lambda: trainer().fit(Module), TypeError, ("Module", "an instance")),
    Mistake(
        *("a plain module", lambda: trainer().fit(torch.nn.Linear(2, 2), plain()), TypeError),
        ("model", "LightningModule", "Linear"),
    ),
    Mistake("nothing", lambda: trainer().fit(None), TypeError, ("model", "LightningModule")),
    Mistake(
        "loaders and datamodule",
        lambda: trainer().fit(Module(), rows(), datamodule=Data()),
        *(Bad, ("train_dataloaders", "datamodule", "one of the two")),
    ),
    Mistake(
        "loader and datamodule of test",
        lambda: trainer().test(Module(), plain(), datamodule=Data()),
        *(Bad, ("dataloaders", "datamodule", "one of the two")),
    ),
    Mistake(
        *("datamodule class, second place", lambda: trainer().fit(Module(), Data), TypeError),
        ("train_dataloaders=Data", "pass an instance", "Data("),
    ),
    Mistake(
        *("datamodule class", lambda: trainer().fit(Module(), datamodule=Data), TypeError),
        ("datamodule=Data", "pass an instance"),
    ),
    Mistake(
        "a loader as datamodule",
        lambda: trainer().fit(Module(), datamodule=rows()),
        *(TypeError, ("datamodule", "DataLoader", "train_dataloaders=")),
    ),
    Mistake(
        *("test of nothing", lambda: trainer().test(dataloaders=plain()), TypeError),
        ("Trainer.test", "without a model", "model=..."),
    ),
    Mistake(
        *("validate of nothing", lambda: trainer().validate(), TypeError),
        ("Trainer.validate", "model=..."),
    ),
    Mistake(
        *("predict of nothing", lambda: trainer().predict(), TypeError),
        ("Trainer.predict", "model=..."),
    ),
]

LOADERS = [
    Mistake(
        *("no loader", lambda: trainer().fit(spoiled(train_dataloader=None)), Bad),
        ("Trainer.fit", "train_dataloaders=...", "Model.train_dataloader"),
    ),
    Mistake(
        *("no loader in datamodule", lambda: trainer().fit(Module(), datamodule=NoData()), Bad),
        ("Trainer.fit", "NoData.train_dataloader"),
    ),
    Mistake(
        *("no loader to validate", lambda: trainer().validate(Module()), Bad),
        ("Trainer.validate", "Module.val_dataloader"),
    ),
    Mistake(
        *("no loader to test", lambda: trainer().test(Module()), Bad),
        ("Trainer.test", "Module.test_dataloader"),
    ),
    Mistake(
        *("no loader to predict", lambda: trainer().predict(Module()), Bad),
        ("Trainer.predict", "Module.predict_dataloader"),
    ),
    Mistake(
        *("loader is a number", lambda: _fit_on(7), TypeError),
        ("train_dataloader", "int", "DataLoader"),
    ),
    Mistake(
        *("loader is None", lambda: _fit_on(None), TypeError),
        ("Model.train_dataloader", "None", "return a loader"),
    ),
    Mistake(
        "loader is a data set class",
        lambda: trainer().validate(Module(), torch.utils.data.Dataset),
        *(TypeError, ("dataloaders=Dataset", "pass an instance")),
    ),
    Mistake(
        *("share of a stream", lambda: _fit_on(stream(), limit_train_batches=0.5), Bad),
        ("limit_train_batches=0.5", "no length", "(an int)"),
    ),
    Mistake(
        *("share too small", lambda: fit(Module(), limit_train_batches=0.1), Bad),
        ("limit_train_batches=0.1", "4", "0.25"),
    ),
    Mistake(
        *("share of validation", lambda: fit(Module(), limit_val_batches=0.1), Bad),
        ("limit_val_batches=0.1", "4", "0.25"),
    ),
    Mistake(
        *("interval too long", lambda: fit(Module(), val_check_interval=9), ValueError),
        ("val_check_interval=9", "4 training batches", "check_val_every_n_epoch=None"),
    ),
    Mistake(
        "interval in a stream",
        lambda: trainer(val_check_interval=0.5).fit(Module(), stream(), plain()),
        *(Bad, ("val_check_interval=0.5", "no length", "(an int)")),
    ),
    Mistake(
        *("mode of CombinedLoader", lambda: CombinedLoader([rows()], "min_szie"), ValueError),
        ("mode", "'min_szie'", "did you mean 'min_size'"),
    ),
    Mistake(
        "sequential training",
        lambda: _fit_on(CombinedLoader([rows(), rows()], "sequential")),
        *(ValueError, ("sequential", "max_size_cycle")),
    ),
    Mistake(
        "prediction in parallel",
        lambda: trainer().predict(Module(), CombinedLoader([plain(), plain()], "min_size")),
        *(ValueError, ("mode='min_size'", "'sequential'")),
    ),
    Mistake(
        *("length before iter", lambda: len(CombinedLoader([rows()])), RuntimeError),
        ("len", "iter("),
    ),
]


# --- checkpoints --------------------------------------------------------------------------------


class Wider(Module):
    """Other weights than `Module`."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.head = torch.nn.Linear(3, 1)


class Adam(Module):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)


class Grouped(Module):
    def configure_optimizers(self):
        groups = [{"params": [p]} for p in self.parameters()]
        return torch.optim.SGD(groups, lr=0.1)


class Scheduled(Module):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]


class Untrained(Module):
    def configure_optimizers(self):
        return None


def _saved(path="kept/model.ckpt", *, weights_only=False, epochs=1):
    made = trainer(max_epochs=epochs)
    made.fit(Module(), val_dataloaders=plain())
    made.save_checkpoint(path, weights_only=weights_only)
    seen.samples = seen.steps = 0
    return path


def _resume(path, module=Module, **options):
    trainer(**{"max_epochs": 3, **options}).fit(module(), ckpt_path=path)


def _missing(name):
    _saved()
    _resume(name)


def _no_checkpoint(content):
    path = Path("some.ckpt")
    path.write_bytes(content)
    _resume(path)


def _other_file(value):
    torch.save(value, "some.ckpt")
    _resume("some.ckpt")


def _unreadable():
    os.mkdir("folder.ckpt")
    _resume("folder.ckpt")


CHECKPOINTS = [
    Mistake(
        *("path is missing", lambda: _missing("kept/modle.ckpt"), FileNotFoundError),
        ("kept/modle.ckpt", "model.ckpt"),
    ),
    Mistake(
        *("folder is missing", lambda: _missing("kpet/model.ckpt"), FileNotFoundError),
        ("kpet/model.ckpt",),
    ),
    Mistake(
        "missing for load_from_checkpoint",
        lambda: (_saved(), Module.load_from_checkpoint("kept/modle.ckpt")),
        *(FileNotFoundError, ("kept/modle.ckpt", "model.ckpt")),
    ),
    Mistake("a folder", _unreadable, CheckpointError, ("folder.ckpt", "folder")),
    Mistake(
        *("of another model", lambda: _resume(_saved(), Wider), CheckpointError),
        ("another model than Wider", "head.weight", "layer.weight"),
    ),
    Mistake(
        "of another model, loaded",
        lambda: Wider.load_from_checkpoint(_saved()),
        *(CheckpointError, ("Wider", "head.weight", "layer.weight")),
    ),
    Mistake(
        *("of another optimizer", lambda: _resume(_saved(), Adam), CheckpointError),
        ("another optimizer than Adam", "'betas'", "configure_optimizers"),
    ),
    Mistake(
        *("of other groups", lambda: _resume(_saved(), Grouped), CheckpointError),
        ("does not fit SGD", "groups", "same parameters"),
    ),
    Mistake(
        *("of no scheduler", lambda: _resume(_saved(), Scheduled), CheckpointError),
        ("0 learning rate schedulers", "returned 1"),
    ),
    Mistake(
        *("of an optimizer", lambda: _resume(_saved(), Untrained), CheckpointError),
        ("1 optimizer(s)", "returned 0", "same ones"),
    ),
    Mistake(
        *("seed", lambda: pl.seed_everything("x"), ValueError),
        ("seed", "'x'", "whole number"),
    ),
    Mistake(
        *("seed out of range", lambda: pl.seed_everything(-1), ValueError),
        ("seed=-1", "from 0"),
    ),
    Mistake(
        *("empty file", lambda: _no_checkpoint(b""), CheckpointError),
        ("some.ckpt",),
    ),
    Mistake(
        *("a picture", lambda: _no_checkpoint(b"\x89PNG\r\n" + bytes(400)), CheckpointError),
        ("some.ckpt",),
    ),
    Mistake(
        *("torn", lambda: _no_checkpoint(Path(_saved()).read_bytes()[:900]), CheckpointError),
        ("some.ckpt",),
    ),
    Mistake(
        *("a list", lambda: _other_file([1, 2]), CheckpointError),
        ("some.ckpt", "list"),
    ),
    Mistake(
        *("bare weights", lambda: _other_file(Module().state_dict()), CheckpointError),
        ("state_dict", "layer.weight"),
    ),
    Mistake(
        "weights only, to resume from",
        lambda: _resume(_saved(weights_only=True)),
        *(KeyError, ("weights only", "optimizer state", "load_from_checkpoint")),
    ),
    Mistake(
        "later than max_epochs",
        lambda: _resume(_saved(epochs=3), max_epochs=2),
        *(Bad, ("max_epochs=2", "3")),
    ),
    Mistake(
        *("best of nothing", lambda: fit_from("best"), ValueError),
        ("ckpt_path='best'", "ModelCheckpoint", "pass a path"),
    ),
    Mistake(
        *("hpc without files", lambda: fit_from("hpc"), Bad),
        ("ckpt_path='hpc'", "hpc_ckpt_<n>.ckpt"),
    ),
    Mistake(
        *("registry", lambda: fit_from("registry:model"), ValueError),
        ("ckpt_path='registry:model'", "pass a path"),
    ),
    Mistake(
        *("path of a wrong type", lambda: fit_from(3), TypeError),
        ("ckpt_path", "3", "path"),
    ),
    Mistake(
        *("saved without a model", lambda: trainer().save_checkpoint("x.ckpt"), AttributeError),
        ("save_checkpoint", "module", "fit"),
    ),
    Mistake(
        "loaded on an instance",
        lambda: Module().load_from_checkpoint("x.ckpt"),
        *(TypeError, ("load_from_checkpoint", "instance", "Module.load_from_checkpoint")),
    ),
]


def fit_from(path):
    """Train from what `ckpt_path` names."""
    trainer().fit(Module(), ckpt_path=path)


MISTAKES = [*GIVEN, *LOADERS, *CHECKPOINTS]
