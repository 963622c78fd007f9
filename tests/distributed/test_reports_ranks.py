"""What two ranks say, write and exchange: once, together, and as one process would."""

import contextlib
import csv
import io
import os
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
)
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only


def rank():
    return int(os.environ.get("RANK", "0"))


def world():
    return int(os.environ.get("WORLD_SIZE", "1"))


class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.layer = nn.Linear(1, 1).double()
        self.found = []

    def loss(self, batch):
        return (self.layer(batch) - 1).square().mean()

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss", loss, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def numbers(size=8, batch_size=4):
    """Batches of so many samples over all ranks."""
    values = torch.arange(float(size)).double().unsqueeze(1) / size
    return DataLoader(values, batch_size // world())


def one_by_one(size=6):
    return DataLoader(torch.arange(float(size)).double().unsqueeze(1) / size, 1)


def trainer(folder=".", **options):
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    given = {**quiet, "max_epochs": 1, "enable_checkpointing": False, **options}
    return pl.Trainer(
        accelerator="cpu",
        devices=world(),
        strategy="ddp" if world() > 1 else "auto",
        default_root_dir=folder,
        num_sanity_val_steps=0,
        **given,
    )


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


CELLS = {}


def cell(work):
    CELLS[work.__name__.strip("_")] = work
    return work


def _all(folder):
    found = {}
    for name, work in CELLS.items():
        Path(folder, name).mkdir(exist_ok=True)
        found[name] = work(Path(folder, name))
    return found


@cell
def _written(folder):
    model = Model()
    loggers = [CSVLogger(folder, name="csv"), TensorBoardLogger(folder, name="events")]
    monitor = LearningRateMonitor("step")
    run = trainer(folder, logger=loggers, log_every_n_steps=1, callbacks=[monitor], max_epochs=2)
    run.fit(model, numbers(), one_by_one())
    with (folder / "csv" / "version_0" / "metrics.csv").open(newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return rows, sorted("events" if "tfevents" in file else file for file in files)


class Talks(Model):
    def training_step(self, batch, batch_idx):
        self.print("module", self.global_rank)
        self.trainer.print("trainer", self.global_rank)
        self.of_first()
        return super().training_step(batch, batch_idx)

    @rank_zero_only
    def of_first(self):
        print("only", self.global_rank)


@cell
def _said(folder):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        shown = {"enable_progress_bar": True, "enable_model_summary": True}
        trainer(folder, limit_train_batches=1, **shown).fit(Talks(), numbers(), one_by_one())
    return out.getvalue(), err.getvalue()


class Gathers(Model):
    def training_step(self, batch, batch_idx):
        of_all = self.all_gather(self.layer(batch), sync_grads=True)
        self.found.append(tuple(of_all.shape))
        return (of_all - 1).square().mean()

    def on_train_epoch_end(self):
        trainer, rank = self.trainer, self.global_rank
        gathered = self.all_gather({"rank": rank, "pair": torch.ones(2) * rank})
        self.found.append([gathered["rank"].tolist(), gathered["pair"].tolist()])
        trainer.strategy.barrier("here")
        self.found += [
            trainer.strategy.reduce(torch.tensor(rank + 1.0), reduce_op="sum").item(),
            trainer.strategy.broadcast(["of", rank], src=1),
            trainer.strategy.reduce_boolean_decision(rank == 0, all=False),
            trainer.strategy.reduce_boolean_decision(rank == 0),
        ]
        self.found.append(
            [trainer.world_size, trainer.num_devices, trainer.num_nodes, trainer.device_ids]
        )
        self.found.append([trainer.global_rank, trainer.local_rank, self.local_rank])
        self.found.append([trainer.is_global_zero, trainer.node_rank])


def _gathered():
    model = Gathers()
    trainer().fit(model, numbers())
    return model.found, weights(model)


class Cycle(Model):
    def configure_optimizers(self):
        self.found.append(self.trainer.estimated_stepping_batches)
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        total = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def on_train_end(self):
        self.found.append(self.lr_schedulers().last_epoch)
        self.found.append(self.optimizers().param_groups[0]["lr"])


@cell
def _cycle(folder):
    model = Cycle()
    run = trainer(folder, max_epochs=3, accumulate_grad_batches=2)
    run.fit(model, numbers(12))
    return model.found, run.global_step, run.num_training_batches


class Ends(Model):
    def training_step(self, batch, batch_idx):
        return {"loss": self.loss(batch), "rank": self.global_rank}

    def validation_step(self, batch, batch_idx):
        return batch.flatten().tolist()

    def training_epoch_end(self, outputs):
        self.found.append([o["rank"] for o in outputs])
        self.log("end", torch.stack([o["loss"] for o in outputs]).mean(), sync_dist=True)

    def validation_epoch_end(self, outputs):
        self.found.append(outputs)


@cell
def _ends(folder):
    model = Ends()
    run = trainer(folder)
    run.fit(model, numbers(), one_by_one(5))
    return model.found, run.callback_metrics["end"].item()


@cell
def _clipped(folder):
    out = []
    for options in ({}, {"gradient_clip_algorithm": "value"}, {"accumulate_grad_batches": 2}):
        model = Model()
        trainer(folder, gradient_clip_val=0.01, **options).fit(model, numbers())
        out.append(weights(model))
    return out


class Speaks(Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.log("mine", 1.0 + batch_idx, on_step=True, on_epoch=True, sync_dist=True)

    def on_validation_epoch_end(self, trainer, module):
        self.log("mine_val", module.global_rank - world() / 2, sync_dist=True)


@cell
def _callbacks_log(folder):
    run = trainer(folder, callbacks=[Speaks()], logger=CSVLogger(folder), log_every_n_steps=1)
    run.fit(Model(), numbers(), one_by_one(4))
    return {k: v.item() for k, v in run.callback_metrics.items()}


@cell
def _stopped(folder):
    saver = ModelCheckpoint(
        folder, monitor="val_loss", save_top_k=2, every_n_train_steps=2, save_last=True
    )
    stopper = EarlyStopping("val_loss", mode="max", patience=1, check_on_train_epoch_end=False)
    run = trainer(
        folder,
        callbacks=[saver, stopper],
        enable_checkpointing=True,
        max_epochs=8,
        val_check_interval=2,
    )
    run.fit(Model(), numbers(batch_size=2), one_by_one())
    scores = {Path(path).name: score.item() for path, score in saver.best_k_models.items()}
    ends = run.global_step, run.current_epoch, stopper.stopped_epoch
    return sorted(os.listdir(folder)), ends, scores


class Thaws(Model):
    """A layer that is frozen in the first epoch."""

    def __init__(self):
        super().__init__()
        self.late = nn.Linear(1, 1).double().requires_grad_(False)

    def loss(self, batch):
        return (self.late(self.layer(batch)) - 1).square().mean()

    def on_train_epoch_start(self):
        self.late.requires_grad_(self.current_epoch == 1)


OPTIONS = {
    "barebones": {"barebones": True},
    "anomalies": {"detect_anomaly": True},
    "deterministic": {"deterministic": True},
    "gradients in evaluation": {"inference_mode": False},
    "time": {"max_time": "00:01:00:00", "val_check_interval": "00:00:10:00"},
    "mixed": {"precision": "bf16-mixed"},
    "double": {"precision": "64-true"},
    "one node": {"num_nodes": 1, "sync_batchnorm": True},
}


@cell
def _options(folder):
    found = {}
    for name, options in OPTIONS.items():
        model = Model()
        shown = {"enable_model_summary": None, "enable_progress_bar": None, "logger": None}
        bare = {**shown, "enable_checkpointing": None} if name == "barebones" else {}
        trainer(folder, max_epochs=2, **{**bare, **options}).fit(model, numbers(), one_by_one())
        found[name] = weights(model)
    thaws = Thaws()
    trainer(folder, max_epochs=2).fit(thaws, numbers())
    return {**found, "thaws": weights(thaws)}


@cell
def _compiled(folder):
    from torch._dynamo.testing import CompileCounter

    counter, model = CompileCounter(), Model()
    run = trainer(folder, max_epochs=2, log_every_n_steps=1, logger=CSVLogger(folder))
    run.fit(torch.compile(model, backend=counter), numbers(), one_by_one())
    metrics = {name: value.item() for name, value in run.callback_metrics.items()}
    return counter.frame_count, weights(model), metrics


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    for name in ("one", "two"):
        (folder / name).mkdir()
    ranks = run_ranks(_all, 2, str(folder / "two"), limit=100)
    return _all(folder / "one"), ranks


def close(found, expected):
    """Equal up to the rounding of float64."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(close(found[k], expected[k]) for k in found)
    if isinstance(expected, list | tuple):
        return all(close(*pair) for pair in zip(found, expected, strict=True))
    return found == (pytest.approx(expected, abs=1e-12) if type(expected) is float else expected)


ALIKE = ("written", "cycle", "clipped", "callbacks_log", "stopped", "options", "compiled")


@pytest.mark.parametrize("name", ALIKE)
def test_all_ranks_find_what_one_process_finds(found, name):
    alone, ranks = found
    for of_rank in ranks:
        assert close(of_rank[name], alone[name])


def test_one_rank_writes_one_set_of_files(found):
    rows, files = found[1][0]["written"]
    assert files == ["csv/version_0/metrics.csv", "events", "events/version_0/hparams.yaml"]
    assert [row["loss_step"] for row in rows if "loss_step" in row]


def test_one_rank_speaks(found):
    (out, err), silent = (of_rank["said"] for of_rank in found[1])
    lines = out.splitlines()
    assert lines[:3] == ["module 0", "trainer 0", "only 0"]
    assert len(lines) == 4 and lines[3].startswith("Epoch 0/0: 100%")
    assert err.count("0 | layer | Linear") == 1
    assert silent == ("", "")


def test_outputs_of_epochs_are_the_ranks_own(found):
    alone, ranks = found
    validated, trained = zip(*(of_rank["ends"][0] for of_rank in ranks), strict=True)
    assert sorted(sum(validated, [])) == alone["ends"][0][0]
    assert trained == ([0, 0], [1, 1])
    assert all(close(of_rank["ends"][1], alone["ends"][1]) for of_rank in ranks)


def test_compiled_steps_are_compiled_once(found):
    assert found[1][0]["compiled"][0] == 2  # training and validation


def test_ranks_talk_in_steps_and_in_hooks_of_epochs(found):
    model = Model()
    pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model, numbers())
    for rank, (told, trained) in enumerate(run_ranks(_gathered, 2)):
        assert told[:2] == [(2, 2, 1)] * 2
        assert told[2] == [[0, 1], [[0.0, 0.0], [1.0, 1.0]]]
        assert told[3:7] == [3.0, ["of", 1], True, False]
        assert told[7] == [2, 2, 1, [0, 1]]
        assert told[8:] == [[rank, rank, rank], [rank == 0, 0]]
        assert close(trained, weights(model))
