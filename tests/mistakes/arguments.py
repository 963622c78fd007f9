"""Mistakes in the arguments of `Trainer`, all known when it is made."""

from functools import partial

from tests.mistakes.case import Mistake, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from pytorch_lightning.plugins import HalfPrecision, TorchCheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Keeping(Callback):
    """Two of them cannot be told apart."""

    def state_dict(self):
        return {"kept": 1}


def _case(error, *says, name=None, **arguments):
    label = name or ", ".join(f"{key}={value!r}"[:40] for key, value in arguments.items())
    return Mistake(label, partial(trainer, **arguments), error, says)


Bad = MisconfigurationException

NUMBERS = [
    _case(Bad, "max_epochs", "-2", "-1 means no limit", max_epochs=-2),
    _case(TypeError, "max_epochs", "'5'", "whole number", max_epochs="5"),
    _case(TypeError, "max_epochs", "2.5", "whole number", max_epochs=2.5),
    _case(TypeError, "max_epochs", "True", "whole number", max_epochs=True),
    _case(Bad, "max_steps", "-3", "-1 means no limit", max_steps=-3),
    _case(Bad, "min_epochs", "-1", "at least 0", min_epochs=-1),
    _case(Bad, "min_steps", "-5", "at least 0", min_steps=-5),
    _case(Bad, "min_epochs=5", "max_epochs=2", "lower the one", min_epochs=5, max_epochs=2),
    _case(Bad, "min_steps=9", "max_steps=3", "raise the other", min_steps=9, max_steps=3),
    _case(ValueError, "max_time", "'1:30'", "DD:HH:MM:SS", max_time="1:30"),
    _case(TypeError, "max_time", "3.5", "timedelta", max_time=3.5),
    _case(TypeError, "max_time", "hour", "hours", max_time={"hour": 1}),
    _case(Bad, "limit_train_batches", "-1", "from 0 on", limit_train_batches=-1),
    _case(Bad, "limit_train_batches", "1.5", "0.0 to 1.0", limit_train_batches=1.5),
    _case(TypeError, "limit_train_batches", "'half'", "float", limit_train_batches="half"),
    _case(Bad, "limit_val_batches", "-0.1", "share", limit_val_batches=-0.1),
    _case(Bad, "limit_test_batches", "-4", "share", limit_test_batches=-4),
    _case(TypeError, "limit_predict_batches", "True", "int", limit_predict_batches=True),
    _case(Bad, "overfit_batches", "-2", "share", overfit_batches=-2),
    _case(Bad, "val_check_interval", "-1", "share", val_check_interval=-1),
    _case(Bad, "val_check_interval", "1.5", "0.0 to 1.0", val_check_interval=1.5),
    _case(Bad, "val_check_interval", "0", "at least 1", val_check_interval=0),
    _case(ValueError, "val_check_interval", "'often'", "DD:HH:MM:SS", val_check_interval="often"),
    _case(Bad, "check_val_every_n_epoch", "0", "at least 1", check_val_every_n_epoch=0),
    _case(
        *(Bad, "check_val_every_n_epoch=None", "val_check_interval=0.5", "int or a time"),
        check_val_every_n_epoch=None,
        val_check_interval=0.5,
    ),
    _case(Bad, "num_sanity_val_steps", "-2", "at least -1", num_sanity_val_steps=-2),
    _case(Bad, "log_every_n_steps", "-1", "at least 0", log_every_n_steps=-1),
    _case(Bad, "accumulate_grad_batches", "0", "at least 1", accumulate_grad_batches=0),
    _case(TypeError, "accumulate_grad_batches", "2.0", "whole", accumulate_grad_batches=2.0),
    _case(Bad, "accumulate_grad_batches[3]", "0", "at least 1", accumulate_grad_batches={3: 0}),
    _case(TypeError, "accumulate_grad_batches", "'a'", "whole", accumulate_grad_batches={"a": 2}),
    _case(TypeError, "gradient_clip_val", "'1'", "number", gradient_clip_val="1"),
    _case(Bad, "gradient_clip_val", "-1", "from 0 on", gradient_clip_val=-1),
    _case(Bad, "gradient_clip_algorithm", "'nrm'", "'norm'", gradient_clip_algorithm="nrm"),
    _case(Bad, "fast_dev_run", "-1", "at least 0", fast_dev_run=-1),
    _case(TypeError, "fast_dev_run", "1.5", "whole number", fast_dev_run=1.5),
    _case(
        *(Bad, "reload_dataloaders_every_n_epochs", "-1", "at least 0"),
        reload_dataloaders_every_n_epochs=-1,
    ),
]

WORDS = [
    _case(TypeError, "deterministic", "'wran'", "'warn'", deterministic="wran"),
    _case(TypeError, "benchmark", "1", "True or False", benchmark=1),
    _case(TypeError, "detect_anomaly", "'yes'", "True or False", detect_anomaly="yes"),
    _case(TypeError, "inference_mode", "'no'", "True or False", inference_mode="no"),
    _case(TypeError, "enable_progress_bar", "'off'", "True or False", enable_progress_bar="off"),
    _case(TypeError, "default_root_dir", "5", "path", default_root_dir=5),
    _case(Bad, "profiler", "'simpel'", "did you mean 'simple'", profiler="simpel"),
    _case(ValueError, "accelerator", "'gppu'", "'cpu'", accelerator="gppu"),
    _case(Bad, "accelerator", "'tpu'", "cpu", accelerator="tpu"),
    _case(Bad, "devices", "0", "Pass 1", devices=0),
    _case(Bad, "devices", "'0'", "Pass 1", devices="0"),
    _case(Bad, "devices", "[]", "Pass 1", devices=[]),
    _case(TypeError, "devices", "1.5", "'auto'", devices=1.5),
    _case(TypeError, "devices", "'many'", "'auto'", devices="many"),
    _case(TypeError, "devices", "[0, 1]", "devices=1", devices=[0, 1]),
    _case(ValueError, "num_nodes", "0", "from 1 on", num_nodes=0),
    _case(ValueError, "strategy", "'dpd'", "'auto'", strategy="dpd"),
    _case(ValueError, "strategy", "'dp'", "'ddp'", strategy="dp"),
    _case(ValueError, "precision", "'17'", "'16-mixed'", precision="17"),
    _case(ValueError, "precision", "'16-mixd'", "did you mean '16-mixed'", precision="16-mixd"),
    _case(
        *(ValueError, "precision", "HalfPrecision", "Choose one"),
        precision="16-mixed",
        plugins=HalfPrecision(),
    ),
    _case(Bad, "plugins", "'fast'", "CheckpointIO", plugins="fast"),
    _case(
        *(Bad, "plugins", "TorchCheckpointIO", "Pass one"),
        plugins=[TorchCheckpointIO(), TorchCheckpointIO()],
    ),
]

PARTS = [
    _case(TypeError, "logger", "'tb'", "list of loggers", logger="tb"),
    _case(TypeError, "callbacks", "ModelCheckpoint", "add ()", callbacks=[ModelCheckpoint]),
    _case(TypeError, "callbacks", "'bar'", "Callback", callbacks="bar"),
    _case(
        *(Bad, "enable_checkpointing=False", "ModelCheckpoint", "leave out one"),
        callbacks=ModelCheckpoint(),
    ),
    _case(
        *(Bad, "enable_progress_bar=False", "TQDMProgressBar", "leave out one"),
        callbacks=TQDMProgressBar(),
    ),
    _case(
        *(Bad, "TQDMProgressBar", "RichProgressBar", "keep one"),
        callbacks=[TQDMProgressBar(), RichProgressBar()],
        enable_progress_bar=True,
    ),
    _case(RuntimeError, "Keeping", "state_key", callbacks=[Keeping(), Keeping()]),
    *(
        _case(
            *(ValueError, "barebones=True", next(iter(given)), "leave out one"),
            name=f"barebones, {next(iter(given))}",
            **{**dict.fromkeys(("logger", "enable_checkpointing")), "barebones": True, **given},
        )
        for given in (
            {"enable_checkpointing": True},
            {"logger": True},
            {"enable_progress_bar": True},
            {"enable_model_summary": True},
            {"num_sanity_val_steps": 2},
            {"log_every_n_steps": 5},
            {"fast_dev_run": True},
            {"detect_anomaly": True},
            {"profiler": "simple"},
        )
    ),
]

NAMES = [
    _case(TypeError, "max_epoch", "did you mean 'max_epochs'", max_epoch=3),
    _case(TypeError, "acelerator", "did you mean 'accelerator'", acelerator="cpu"),
    _case(TypeError, "learning_rate", "no such argument", learning_rate=0.1),
    Mistake("positional", lambda: pl.Trainer(True), TypeError, ("True", "by name", "max_epochs=")),
    Mistake(
        *("PL_TRAINER_MAX_EPOCH", trainer, TypeError),
        ("PL_TRAINER_MAX_EPOCH", "did you mean 'PL_TRAINER_MAX_EPOCHS'"),
        environment={"PL_TRAINER_MAX_EPOCH": "3"},
    ),
    Mistake(
        *("PL_TRAINER_MAX_STEPS", trainer, TypeError),
        ("max_steps", "'many'", "whole number"),
        environment={"PL_TRAINER_MAX_STEPS": "many"},
    ),
    _case(Bad, "gpus=2", "accelerator='cpu'", "give it once", gpus=2),
]

MISTAKES = [*NUMBERS, *WORDS, *PARTS, *NAMES]
