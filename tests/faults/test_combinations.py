"""Programs that combine checkpoints, signals and resumes as users combine them."""

import os
import random
import signal
import time

import pytest
import torch
from tests.faults.forks import forked
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset
from pytorch_lightning.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from pytorch_lightning.testing import interrupt, kill, raise_error, simulate, terminate
from pytorch_lightning.utilities.exceptions import CheckpointError, MisconfigurationException

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def loader():
    return DataLoader(RandomDataset(32, 16), batch_size=2)


class SlowFiles(TorchCheckpointIO):
    """A disk that is still busy when the process is asked to end."""

    def save_checkpoint(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
        super().save_checkpoint(*args, **kwargs)


class Ends(pl.Callback):
    """Says that the end was told of, and that of two signals the second one changes nothing."""

    def on_exception(self, trainer, pl_module, exception):
        os.kill(os.getpid(), signal.SIGTERM)
        print(f"told of {type(exception).__name__}")

    def teardown(self, trainer, pl_module, stage):
        print("torn down")


def train_with(hook, number):
    module = BoringModel()
    setattr(module, hook, lambda *_, **__: os.kill(os.getpid(), number))
    trainer = pl.Trainer(
        max_steps=2, limit_val_batches=0, callbacks=[Ends()], enable_checkpointing=False, **QUIET
    )
    try:
        trainer.fit(module, loader())
    finally:
        handlers = [signal.getsignal(n) is signal.SIG_DFL for n in (signal.SIGTERM, number)]
        print(f"handlers are back: {all(handlers)}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
@pytest.mark.parametrize("hook", ["prepare_data", "setup", "on_fit_start", "on_fit_end"])
def test_a_signal_outside_of_the_loops_tears_down(tally, hook, number):
    tally(number.name)
    code, text = forked(train_with, hook, number)
    assert code == 143, text
    for line in ("told of SIGTERMException", "torn down", "handlers are back: True"):
        assert text.count(line) == 1, text


class Exits(pl.Callback):
    def __init__(self, how):
        self.how = how

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        raise self.how


def train_until(how, folder):
    saver = ModelCheckpoint(folder, save_last=True, every_n_train_steps=1, async_save=True)
    callbacks = [saver, Exits(how), Ends()]
    pl.Trainer(max_epochs=1, callbacks=callbacks, **QUIET).fit(BoringModel(), loader())


@pytest.mark.parametrize(("how", "code"), [(SystemExit(3), 3), (KeyboardInterrupt(), 130)], ids=str)
def test_an_exit_of_a_hook_keeps_its_code(tally, tmp_path, how, code):
    tally("exit in a hook")
    found, text = forked(train_until, how, tmp_path)
    assert found == code, text
    assert text.count("torn down") == 1, text


def save_in_the_background(folder):
    trainer = pl.Trainer(
        max_epochs=1,
        limit_val_batches=0,
        plugins=AsyncCheckpointIO(SlowFiles()),
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=8), Ends()],
        **QUIET,
    )
    trainer.fit(BoringModel(), loader())


def test_what_was_handed_over_is_there_when_a_signal_comes_as_the_run_ends(tally, tmp_path):
    tally("SIGTERM")
    code, text = forked(save_in_the_background, tmp_path)
    assert code == 143, text
    assert any(torch.load(file)["global_step"] == 8 for file in tmp_path.glob("*.ckpt"))
    assert not list(tmp_path.glob("*.tmp*"))


class Adam(BoringModel):
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters())


class TwoGroups(BoringModel):
    def configure_optimizers(self):
        one, other = self.layer.parameters()
        return torch.optim.SGD([{"params": [one]}, {"params": [other]}], lr=0.1)


class NoSchedule(BoringModel):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_a_file_that_does_not_fit_is_named_and_stays(tally, tmp_path):
    def run(module, epochs, *, weights=False, ckpt_path=None):
        saver = ModelCheckpoint(tmp_path, filename="it", save_weights_only=weights)
        trainer = pl.Trainer(max_epochs=epochs, limit_val_batches=0, callbacks=[saver], **QUIET)
        trainer.fit(module, loader(), ckpt_path=ckpt_path)

    run(BoringModel(), 1)
    path = tmp_path / "it.ckpt"
    before = path.read_bytes()
    for module in (Adam(), TwoGroups(), NoSchedule()):
        tally("file of another model")
        with pytest.raises(CheckpointError) as caught:
            run(module, 2, ckpt_path=str(path))
        assert str(path) in str(caught.value)
    with pytest.raises(MisconfigurationException) as caught:
        run(BoringModel(), 0, ckpt_path=str(path))
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before

    path.unlink()
    run(BoringModel(), 1, weights=True)
    tally("file of weights alone")
    with pytest.raises(CheckpointError, match="holds weights only") as caught:
        run(BoringModel(), 2, ckpt_path=str(path))
    assert str(path) in str(caught.value)


class Dropping(BoringModel):
    def training_step(self, batch, batch_idx):
        return super().training_step(torch.nn.functional.dropout(batch, 0.2), batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("value", super().validation_step(batch, batch_idx)["x"], sync_dist=True)


def shuffled():
    return DataLoader(RandomDataset(32, 24), batch_size=2, shuffle=True)


def savers_of(kind, folder, *, async_save):
    best = ModelCheckpoint(
        folder, monitor="value", save_top_k=2, save_last="link", async_save=async_save
    )
    often = ModelCheckpoint(
        folder, every_n_train_steps=4, save_top_k=-1, save_last=True, async_save=async_save
    )
    return {"best": [best], "often": [often], "both": [best, often]}[kind]


HOOKS = [None, "on_save_checkpoint", "on_validation_batch_end", "on_train_epoch_end"]
FAULTS = {
    kill: "SIGKILL of a rank",
    terminate: "SIGTERM",
    interrupt: "SIGINT",
    raise_error: "exception",
}


@pytest.mark.long
@pytest.mark.parametrize("number", range(16))
def test_two_ranks_come_back_to_the_same_weights_and_files(tally, tmp_path, number):
    chance = random.Random(number)
    async_save = chance.random() < 0.6
    kind = chance.choice(["best", "often", "both"])
    strategy = chance.choice(["ddp", "fsdp"])
    fault = chance.choice(list(FAULTS))
    at = {"rank": chance.randrange(2), "step": chance.randint(2, 9)}
    if hook := chance.choice(HOOKS):
        at["hook"] = hook

    def train(name, script):
        folder = tmp_path / name
        found = simulate(
            Dropping,
            shuffled,
            script=script,
            restarts=1,
            callbacks=savers_of(kind, folder, async_save=async_save),
            strategy=strategy,
            max_epochs=2,
            val_check_interval=0.5,
            val_dataloaders=shuffled,
            default_root_dir=folder,
        )
        return found, sorted(path.name for path in folder.glob("*"))

    calm, whole = train("calm", [])
    tally(FAULTS[fault])
    found, left = train("hit", [fault(**at)])
    assert found.survived, str(found)
    assert not found.missed, (fault, at)
    assert found.weights == calm.weights, (strategy, kind, at)
    assert left == whole, (strategy, kind, at)
