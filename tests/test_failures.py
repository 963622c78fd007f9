"""A run that fails: the error says where, everybody hears of it, everybody tears down."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from tests.loops.trace import CALLBACK, DATAMODULE, MODULE
from tests.mistakes.case import Module, Rows, plain, rows, trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import DataError, MisconfigurationException

STEPS = ["training_step", "validation_step", "test_step", "predict_step", "forward"]
LOADERS = [f"{split}_dataloader" for split in ("train", "val", "test", "predict")]
WITHOUT_BATCH = [
    *("setup", "prepare_data", "configure_callbacks", "configure_model", "on_train_start"),
    *("configure_optimizers", "on_fit_start", "on_train_epoch_end", "on_validation_start"),
]
EXPECTED = {"forward": "predict_step", "clip_gradients": "configure_gradient_clipping"}


class Boom(Exception):
    """What the failing hook raises."""


class Finalized(Logger):
    """Remembers how it was closed."""

    name, version = "finalized", 0

    def __init__(self):
        super().__init__()
        self.status = []

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass

    def finalize(self, status):
        self.status.append(status)


class Scheduled(Module):
    """Has something to do for every hook."""

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def predict_step(self, batch, batch_idx):
        return self(batch)


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return rows()

    def val_dataloader(self):
        return plain()

    test_dataloader = predict_dataloader = val_dataloader


def watched(cls, label, told):
    """A subclass that remembers `on_exception` and `teardown`."""

    def teardown(self, *args, **kwargs):
        told.append(f"{label}.teardown")

    def on_exception(self, *args):
        told.append(f"{label}.on_exception {type(args[-1]).__name__}")

    return type(cls.__name__, (cls,), {"teardown": teardown, "on_exception": on_exception})


def failing(cls, name, told=None):
    """A subclass whose method `name` raises."""

    def method(self, *args, **kwargs):
        if told is not None:
            told.append(f"failed {name}")
        raise Boom(name)

    return type(cls.__name__, (cls,), {name: method})


def run_with(name, module, callback, data, logger):
    """The entry point that comes to the hook, and the trainer that ran it."""
    runs = trainer(
        callbacks=[callback, ModelCheckpoint(dirpath="kept")],
        logger=logger,
        enable_checkpointing=True,
        gradient_clip_val=1.0,
    )
    parts = (runs, module, data)
    if "test" in name:
        return *parts, lambda: runs.test(module, datamodule=data)
    if "predict" in name or name == "forward":
        return *parts, lambda: runs.predict(module, datamodule=data)
    if "load_" in name and "dataloader" not in name:
        before = trainer()
        keeping = type("Data", (Data,), {"state_dict": lambda self: {"kept": 1}})()
        before.callbacks.append(type(callback)())
        before.callbacks[-1].state_dict = lambda: {"kept": 1}
        before.fit(Scheduled(), datamodule=keeping)
        before.save_checkpoint("before.ckpt")
        return *parts, lambda: runs.fit(module, datamodule=data, ckpt_path="before.ckpt")
    return *parts, lambda: runs.fit(module, datamodule=data)


CASES = [
    *(("module", name) for name in [*MODULE, *STEPS, "configure_optimizers"]),
    *(("callback", name) for name in CALLBACK),
    *(("datamodule", name) for name in [*DATAMODULE, *LOADERS]),
]


@pytest.mark.parametrize(("owner", "name"), CASES, ids=lambda part: part)
def test_an_error_in_any_hook_has_a_note_and_everybody_tears_down(owner, name):
    if name in ("teardown", "on_exception"):
        pytest.skip("tested below")
    told, logger = [], Finalized()
    kinds = {
        "module": watched(Scheduled, "module", told),
        "callback": watched(Callback, "callback", told),
        "datamodule": watched(Data, "datamodule", told),
    }
    kinds[owner] = failing(kinds[owner], name)
    made = (kinds["module"](), kinds["callback"](), kinds["datamodule"]())
    runs, module, _, run = run_with(name, *made, logger)
    before = told.copy()
    with pytest.raises(Boom) as caught:
        run()
    assert str(caught.value) == name
    (note,) = caught.value.__notes__
    assert f"in `{EXPECTED.get(name, name)}`" in note
    assert f"epoch {int(name in ('on_train_end', 'on_fit_end'))}" in note
    heard = told[len(before) :]
    assert heard == [
        *("callback.on_exception Boom", "datamodule.on_exception Boom"),
        *("datamodule.teardown", "callback.teardown", "module.teardown"),
    ]
    assert logger.status == ["failed"]
    assert runs.state.status == TrainerStatus.INTERRUPTED
    assert runs.interrupted
    assert not runs.training
