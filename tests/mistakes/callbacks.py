"""Mistakes in callbacks: their arguments, their names, what they watch."""

from datetime import timedelta

import torch
from tests.mistakes.case import Mistake, Module, fit, plain, seen, spoiled, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    BasePredictionWriter,
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    OnExceptionCheckpoint,
    Timer,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException as Bad


def _made(name, make, error, *says):
    return Mistake(name, make, error, says)


ARGUMENTS = [
    _made(
        "EarlyStopping mode", lambda: EarlyStopping("x", mode="mim"), Bad, "mode", "'mim'", "'min'"
    ),
    _made(
        *("EarlyStopping patience", lambda: EarlyStopping("x", patience=-1), Bad),
        *("patience", "-1", "pass 0"),
    ),
    _made("EarlyStopping alone", lambda: EarlyStopping(), TypeError, "monitor"),
    _made(
        *("ModelCheckpoint mode", lambda: ModelCheckpoint(mode="best"), Bad),
        *("mode", "'best'", "'max'"),
    ),
    _made(
        *("save_top_k negative", lambda: ModelCheckpoint(save_top_k=-2), Bad),
        *("save_top_k", "-2", "-1 (all)"),
    ),
    _made(
        *("save_top_k unranked", lambda: ModelCheckpoint(save_top_k=3), Bad),
        *("save_top_k=3", "monitor", "Name a metric"),
    ),
    _made(
        *("save_last word", lambda: ModelCheckpoint(save_last="yes"), Bad),
        *("save_last", "'yes'", "'link'"),
    ),
    _made(
        *("every_n_train_steps", lambda: ModelCheckpoint(every_n_train_steps=-1), Bad),
        *("every_n_train_steps", "-1", "0 switches"),
    ),
    _made(
        "two triggers",
        lambda: ModelCheckpoint(every_n_train_steps=2, train_time_interval=timedelta(hours=1)),
        *(Bad, "every_n_train_steps=2", "train_time_interval", "exclude each other"),
    ),
    _made(
        *("train_time_interval", lambda: ModelCheckpoint(train_time_interval=60), Bad),
        *("train_time_interval", "60", "timedelta"),
    ),
    _made(
        *("file name template", lambda: ModelCheckpoint(filename="{epoch"), Bad),
        *("filename", "{epoch", "{name}"),
    ),
    _made(
        *("LearningRateMonitor", lambda: LearningRateMonitor(logging_interval="batch"), Bad),
        *("logging_interval", "'batch'", "'step'"),
    ),
    _made("Timer interval", lambda: Timer(interval="hour"), Bad, "interval", "'hour'", "step"),
    _made("Timer duration", lambda: Timer("12h"), Bad, "duration", "'12h'", "DD:HH:MM:SS"),
    _made(
        *("accumulation of nothing", lambda: GradientAccumulationScheduler({}), TypeError),
        *("scheduling", "{}", "{4: 2}"),
    ),
    _made(
        *("accumulation of 0", lambda: GradientAccumulationScheduler({2: 0}), Bad),
        *("scheduling", "{2: 0}", "1 or more"),
    ),
    _made(
        *("LambdaCallback name", lambda: LambdaCallback(on_train_begin=print), TypeError),
        *("on_train_begin", "no such hook"),
    ),
    _made(
        *("LambdaCallback value", lambda: LambdaCallback(on_train_start=3), TypeError),
        *("on_train_start", "3", "function"),
    ),
    _made(
        *("ModelSummary depth", lambda: ModelSummary(max_depth=-2), ValueError),
        *("max_depth", "-2", "every layer"),
    ),
    _made(
        *("OnExceptionCheckpoint", lambda: OnExceptionCheckpoint(".", ""), ValueError),
        *("filename", "''", "needs a name"),
    ),
    _made(
        *("write_interval", lambda: BasePredictionWriter("never"), Bad),
        *("write_interval", "'never'", "batch_and_epoch"),
    ),
]


class Writer(BasePredictionWriter):
    """Says that it writes, and has no method for it."""


class Misnamed(Callback):
    def on_training_epoch_end(self, trainer, pl_module):
        pass


class OldData(pl.LightningDataModule):
    def train_dataloader(self):
        return plain()

    def on_after_batch_transfers(self, batch, dataloader_idx):
        return batch


def _named(self, *args):
    """A hook of no release."""


def _static_named(*args):
    """A hook of no release."""


HOOK_NAMES = [
    Mistake(
        *("hook of a callback", lambda: trainer(callbacks=Misnamed()), Bad),
        ("Misnamed.on_training_epoch_end", "did you mean `on_train_epoch_end`"),
    ),
    Mistake(
        *("hook of a module", lambda: fit(spoiled(on_training_epoch_end=_named)), Bad),
        ("Model.on_training_epoch_end", "did you mean `on_train_epoch_end`", "Rename"),
    ),
    Mistake(
        *("hook of a module, e", lambda: fit(spoiled(on_validation_epochs_end=_named)), Bad),
        ("Model.on_validation_epochs_end", "did you mean `on_validation_epoch_end`"),
    ),
    Mistake(
        *("hook of a module, backwards", lambda: fit(spoiled(on_after_backwards=_named)), Bad),
        ("Model.on_after_backwards", "did you mean `on_after_backward`"),
    ),
    Mistake(
        "static hook",
        lambda: fit(spoiled(on_train_batch_ended=staticmethod(_static_named))),
        *(Bad, ("on_train_batch_ended", "did you mean `on_train_batch_end`")),
    ),
    Mistake(
        *("hook of a datamodule", lambda: trainer().fit(Module(), datamodule=OldData()), Bad),
        ("OldData.on_after_batch_transfers", "did you mean `on_after_batch_transfer`"),
    ),
    Mistake(
        "hook of a callback the module brings",
        lambda: fit(spoiled(configure_callbacks=lambda self: [Misnamed()])),
        *(Bad, ("Misnamed.on_training_epoch_end", "did you mean `on_train_epoch_end`")),
    ),
]


def logs_loss(self, batch, batch_idx):
    """Logs `train_loss`, once per epoch."""
    seen.steps += 1
    loss = self.layer(batch).mean()
    self.log("train_loss", loss, on_epoch=True)
    return loss


def plateau(self):
    optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return {"optimizer": optimizer, "lr_scheduler": scheduler, "monitor": "val_los"}


MONITORS = [
    Mistake(
        "EarlyStopping monitor",
        lambda: fit(spoiled(training_step=logs_loss), callbacks=EarlyStopping("train_los")),
        *(RuntimeError, ("EarlyStopping", "train_los", "train_loss")),
        steps=4,
    ),
    Mistake(
        "EarlyStopping, nothing logged",
        lambda: fit(Module(), callbacks=EarlyStopping("loss"), max_epochs=5),
        *(RuntimeError, ("EarlyStopping", "'loss'", "did you mean 'val_loss'")),
        steps=4,
    ),
    Mistake(
        "ModelCheckpoint monitor",
        lambda: trainer(
            callbacks=ModelCheckpoint(monitor="val_los"), enable_checkpointing=None
        ).fit(Module(), val_dataloaders=plain()),
        *(Bad, ("ModelCheckpoint", "val_los", "val_loss")),
        steps=4,
    ),
    Mistake(
        "plateau monitor",
        lambda: trainer().fit(spoiled(configure_optimizers=plateau), val_dataloaders=plain()),
        *(Bad, ("ReduceLROnPlateau", "'val_los'", "did you mean 'val_loss'", "strict=False")),
        steps=4,
    ),
]

RUNS = [
    Mistake(
        *("LearningRateMonitor", lambda: fit(Module(), callbacks=LearningRateMonitor()), Bad),
        ("LearningRateMonitor", "logger", "Pass a logger"),
    ),
    Mistake(
        "accumulation twice",
        lambda: fit(
            Module(), callbacks=GradientAccumulationScheduler({0: 2}), accumulate_grad_batches=4
        ),
        *(ValueError, ("accumulate_grad_batches=4", "Remove one")),
    ),
    Mistake(
        "writer that writes nothing",
        lambda: trainer(callbacks=Writer("epoch")).predict(Module(), plain()),
        *(NotImplementedError, ("Writer", "write_on_epoch_end")),
    ),
]

MISTAKES = [*ARGUMENTS, *HOOK_NAMES, *MONITORS, *RUNS]
