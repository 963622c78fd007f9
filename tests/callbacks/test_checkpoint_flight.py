"""Checkpoints that a run saves in the background: the same files, and nothing is lost."""

import os
import signal
import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, OnExceptionCheckpoint
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from pytorch_lightning.utilities.exceptions import SIGTERMException

QUIET = {
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "limit_val_batches": 0,
}


class Model(BoringModel):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class SlowIO(TorchCheckpointIO):
    """Takes its time, and fails where it is told to."""

    def __init__(self, seconds=0.03, fails_at=()):
        self.seconds, self.fails_at, self.saves = seconds, fails_at, 0

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        time.sleep(self.seconds)
        self.saves += 1
        if self.saves in self.fails_at:
            raise OSError(28, "No space left on device")
        super().save_checkpoint(checkpoint, path, storage_options)


def loader():
    return DataLoader(RandomDataset(32, 48), batch_size=4, shuffle=True)


def keeping(folder, **kwargs):
    options = {"filename": "{step}", "every_n_train_steps": 3, "save_top_k": 2}
    return ModelCheckpoint(folder, **{**options, "monitor": "loss", "save_last": True, **kwargs})


def fit(*callbacks, ckpt_path=None, plugins=None, epochs=2, **kwargs):
    pl.seed_everything(1)
    model = Model()
    options = {**QUIET, "max_epochs": epochs, **kwargs}
    trainer = pl.Trainer(callbacks=list(callbacks), plugins=plugins, **options)
    trainer.fit(model, loader(), ckpt_path=ckpt_path)
    return trainer, model.state_dict()


def assert_same(left, right):
    """Bit for bit, but for the identity of the run and paths."""
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            if key not in ("run_id", "dirpath", "best_k_models"):
                assert_same(left[key], right[key])
    elif isinstance(left, list | tuple):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif not isinstance(left, str):
        assert left == right


@pytest.mark.parametrize("way", ["argument", "plugin"])
def test_files_names_and_contents_are_those_of_direct_saves(tmp_path, way):
    now = keeping(tmp_path / "now")
    fit(now)
    later = keeping(tmp_path / "later", async_save=way == "argument")
    plugins = AsyncCheckpointIO(SlowIO()) if way == "plugin" else None
    trainer, _ = fit(later, plugins=plugins)
    names = sorted(os.listdir(tmp_path / "now"))
    assert sorted(os.listdir(tmp_path / "later")) == names and len(names) == 3
    for name in names:
        one, other = (read_checkpoint(str(tmp_path / w / name)) for w in ("now", "later"))
        states = [list(c.pop("callbacks").values())[0] for c in (one, other)]
        assert_same(one, other)
        assert states[0]["current_score"] == states[1]["current_score"]
        kept = [list(map(os.path.basename, state["best_k_models"])) for state in states]
        assert kept[0] == kept[1]
    assert os.path.basename(later.best_model_path) == os.path.basename(now.best_model_path)
    if way == "argument":
        assert type(trainer.strategy.checkpoint_io) is TorchCheckpointIO


def test_a_run_goes_on_from_such_a_file_as_if_it_had_not_stopped(tmp_path):
    keep = keeping(tmp_path, save_top_k=-1, async_save=True)
    _, whole = fit(keep)
    for step in (3, 9, 21):
        _, resumed = fit(keeping(tmp_path / f"r{step}"), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_best_file_is_there_for_what_follows_the_run(tmp_path):
    keep = keeping(tmp_path, save_top_k=1)
    trainer, _ = fit(keep, plugins=AsyncCheckpointIO(SlowIO(0.1)), epochs=1)
    assert os.path.exists(keep.best_model_path) and os.path.exists(keep.last_model_path)
    trainer.test(dataloaders=loader(), ckpt_path="best", verbose=False)


class Story(Callback):
    def __init__(self):
        self.steps = 0
        self.errors = []

    def on_train_batch_start(self, *args):
        time.sleep(0.05)  # the writer gets ahead

    def on_train_batch_end(self, *args):
        self.steps += 1

    def on_exception(self, trainer, module, exception):
        self.errors.append(exception)


@pytest.mark.parametrize("way", ["argument", "plugin"])
def test_a_failed_save_ends_the_run_at_the_next_step_and_changes_no_record(tmp_path, way, tally):
    tally("disk full")
    story, slow = Story(), SlowIO(0.0, fails_at=(3,))
    options = {"save_top_k": 1, "monitor": None, "save_last": None, "every_n_train_steps": 2}
    keep = keeping(tmp_path, **options, async_save=way == "argument")
    plugins = AsyncCheckpointIO(slow) if way == "plugin" else slow
    with pytest.raises(OSError, match="No space left"):
        fit(story, keep, plugins=plugins)
    assert story.steps == 6 and [type(error) for error in story.errors] == [OSError]
    assert os.listdir(tmp_path) == ["step=4.ckpt"]  # the one before stays
    assert os.path.basename(keep.best_model_path) == "step=4.ckpt"
    _, resumed = fit(keeping(tmp_path / "on"), ckpt_path=keep.best_model_path)
    _, whole = fit(keeping(tmp_path / "whole"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_save_that_fails_last_fails_the_run(tmp_path):
    keep = ModelCheckpoint(tmp_path, async_save=True)
    with pytest.raises(OSError, match="No space left"):
        fit(keep, plugins=SlowIO(0.1, fails_at=(2,)))
    assert os.listdir(tmp_path) == ["epoch=0-step=12.ckpt"]
    assert os.path.basename(keep.best_model_path) == "epoch=0-step=12.ckpt"


def test_what_was_handed_over_is_written_when_the_run_fails(tmp_path):
    class Failing(Model):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 3:
                raise ValueError("here")

    keep = keeping(tmp_path, async_save=True)
    trainer = pl.Trainer(callbacks=[keep], plugins=SlowIO(0.3), max_epochs=1, **QUIET)
    with pytest.raises(ValueError, match="here"):
        trainer.fit(Failing(), loader())
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "step=3.ckpt"]
    assert read_checkpoint(keep.last_model_path)["global_step"] == 3


def test_the_state_at_an_error_is_saved_after_what_is_under_way(tmp_path):
    class Failing(Model):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 4:
                raise ValueError("here")

    keep = keeping(tmp_path, save_on_exception=True, async_save=True)
    wrong = OnExceptionCheckpoint(tmp_path / "wrong")
    trainer = pl.Trainer(callbacks=[keep, wrong], plugins=SlowIO(0.2), max_epochs=1, **QUIET)
    with pytest.raises(ValueError, match="here"):
        trainer.fit(Failing(), loader())
    assert read_checkpoint(str(tmp_path / "step=3.ckpt"))["global_step"] == 3
    assert read_checkpoint(str(tmp_path / "step=4.ckpt"))["global_step"] == 4
    assert read_checkpoint(str(tmp_path / "last.ckpt"))["global_step"] == 4
    assert read_checkpoint(wrong.ckpt_path)["global_step"] == 4


@pytest.mark.parametrize("way", ["argument", "plugin"])
def test_a_process_that_is_told_to_end_leaves_its_last_file_whole(tmp_path, way, tally):
    class Told(Model):
        def on_train_batch_end(self, *args):
            if self.global_step == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    tally("SIGTERM")
    keep = keeping(tmp_path, async_save=way == "argument")
    slow = SlowIO(0.2)
    plugins = AsyncCheckpointIO(slow) if way == "plugin" else slow
    trainer = pl.Trainer(callbacks=[keep], plugins=plugins, max_epochs=1, **QUIET)
    with pytest.raises(SIGTERMException):
        trainer.fit(Told(), loader())
    assert read_checkpoint(keep.last_model_path)["global_step"] == 4
    assert read_checkpoint(str(tmp_path / "step=3.ckpt"))["global_step"] == 3


class Told(Logger):
    """Looks whether the file that it is told about exists, and in which thread."""

    name, version, save_dir = "told", 0, None

    def __init__(self):
        super().__init__()
        self.seen = []

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args):
        pass

    def after_save_checkpoint(self, checkpoint_callback):
        there = os.path.exists(checkpoint_callback.last_model_path)
        self.seen.append((there, threading.current_thread() is threading.main_thread()))


def test_loggers_are_told_when_the_file_is_there(tmp_path):
    told = Told()
    fit(keeping(tmp_path, async_save=True), plugins=SlowIO(), logger=told, epochs=1)
    assert told.seen == [(True, True)] * 4


def test_names_that_are_being_written_are_taken(tmp_path):
    keep = keeping(tmp_path, filename="same", save_top_k=-1, save_last=None, async_save=True)
    fit(keep, plugins=SlowIO(), epochs=1)
    names = ["same-v1.ckpt", "same-v2.ckpt", "same-v3.ckpt", "same.ckpt"]
    assert sorted(os.listdir(tmp_path)) == names


def test_the_last_file_may_be_a_link(tmp_path):
    keep = keeping(tmp_path, monitor=None, save_top_k=1, save_last="link", async_save=True)
    fit(keep, plugins=SlowIO(), epochs=1)
    assert sorted(os.listdir(tmp_path)) == ["last.ckpt", "step=12.ckpt"]
    assert os.readlink(tmp_path / "last.ckpt") == "step=12.ckpt"


def test_a_busy_writer_is_waited_for_or_passed_over(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(keeping(tmp_path / "wait"), plugins=AsyncCheckpointIO(SlowIO(0.05)), epochs=1)
    waits = [r.message for r in caplog.records if r.message.startswith("Waited")]
    assert waits and all(float(text.split()[1]) > 0 for text in waits)
    caplog.clear()
    io = AsyncCheckpointIO(SlowIO(0.3), when_busy="skip")
    keep = keeping(tmp_path / "skip", save_top_k=-1)
    with caplog.at_level("INFO"):
        trainer, _ = fit(keep, plugins=io, epochs=1)
    passed = [r.message for r in caplog.records if "when_busy='skip'" in r.message]
    assert len(passed) == 3 and "step 6" in passed[0]
    assert sorted(os.listdir(tmp_path / "skip")) == ["last.ckpt", "step=3.ckpt"]
    assert [os.path.basename(path) for path in keep.best_k_models] == ["step=3.ckpt"]
    trainer.save_checkpoint(tmp_path / "now.ckpt")  # what is asked for by name is never left out
    trainer.save_checkpoint(tmp_path / "again.ckpt")  # after a run it is there at once
    assert (tmp_path / "now.ckpt").exists() and (tmp_path / "again.ckpt").exists()


def test_a_run_without_it_has_no_look_at_the_writer_per_batch(tmp_path):
    trainer, _ = fit(keeping(tmp_path), epochs=1)
    assert trainer._fit_run.strategy_starts is None
    trainer, _ = fit(keeping(tmp_path / "b", async_save=True), epochs=1)
    assert trainer._fit_run.strategy_starts is not None


def test_fabric_saves_in_the_background_too(tmp_path):
    fabric = pl.Fabric(accelerator="cpu", devices=1, plugins=AsyncCheckpointIO(SlowIO(0.2)))
    model = torch.nn.Linear(2, 2)
    before = model.weight.detach().clone()
    fabric.save(tmp_path / "a.ckpt", {"model": model, "step": 1})
    assert not (tmp_path / "a.ckpt").exists()
    with torch.no_grad():
        model.weight.zero_()
    state = {"model": model, "step": 0}
    fabric.load(tmp_path / "a.ckpt", state)
    assert state["step"] == 1 and torch.equal(model.weight, before)


def test_fabric_raises_what_failed_at_the_next_save(tmp_path):
    io = AsyncCheckpointIO(SlowIO(0.0, fails_at=(1,)))
    fabric = pl.Fabric(accelerator="cpu", devices=1, plugins=io)
    fabric.save(tmp_path / "a.ckpt", {"step": 1})
    with pytest.raises(OSError, match="No space left"):
        fabric.save(tmp_path / "b.ckpt", {"step": 2})
    fabric.save(tmp_path / "c.ckpt", {"step": 3})
    io.settle()
    assert os.listdir(tmp_path) == ["c.ckpt"]
