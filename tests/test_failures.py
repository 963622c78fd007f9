"""A run that fails: the error says where, everybody hears of it, everybody tears down."""

import re
import sys

import pytest
import torch
from tests.loops.trace import CALLBACK, DATAMODULE, MODULE
from tests.mistakes.case import Module, plain, rows, trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.loggers import Logger
from pytorch_lightning.trainer.states import TrainerStatus
from pytorch_lightning.utilities.exceptions import DataError, MisconfigurationException

STEPS = ["training_step", "validation_step", "test_step", "predict_step", "forward"]
LOADERS = [f"{split}_dataloader" for split in ("train", "val", "test", "predict")]
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

    ends = {name: ending(cls, name, label, told) for name in HOOKS if re.match("on_.*_end$", name)}
    own = {"teardown": teardown, "on_exception": on_exception}
    return type(cls.__name__, (cls,), {**ends, **own})


def ending(cls, name, label, told):
    """A hook at the end of something that is remembered, too."""

    def method(self, *args):
        told.append(f"{label}.{name}")
        if hasattr(cls, name):
            getattr(cls, name)(self, *args)

    return method


def failing(cls, name, told=None):
    """A subclass whose method `name` raises."""

    def method(self, *args, **kwargs):
        if told is not None:
            told.append("failed")
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
CASES = [case for case in CASES if case[1] not in ("teardown", "on_exception")]  # see below


@pytest.mark.faults
@pytest.mark.parametrize(("owner", "name"), CASES, ids=lambda part: part)
def test_an_error_in_any_hook_has_a_note_and_everybody_tears_down(owner, name, tally):
    tally("exception in a hook")
    told, logger = [], Finalized()
    kinds = {
        "module": watched(Scheduled, "module", told),
        "callback": watched(Callback, "callback", told),
        "datamodule": watched(Data, "datamodule", told),
    }
    kinds[owner] = failing(kinds[owner], name, told)
    made = (kinds["module"](), kinds["callback"](), kinds["datamodule"]())
    runs, module, _, run = run_with(name, *made, logger)
    with pytest.raises(Boom) as caught:
        run()
    assert str(caught.value) == name
    (note,) = caught.value.__notes__
    assert f"in `{EXPECTED.get(name, name)}`" in note
    assert f"epoch {int(name in ('on_train_end', 'on_fit_end'))}" in note
    heard = told[told.index("failed") + 1 :]
    assert heard == [
        *("callback.on_exception Boom", "datamodule.on_exception Boom"),
        *("datamodule.teardown", "callback.teardown", "module.teardown"),
    ]
    assert logger.status == ["failed"]
    assert runs.state.status == TrainerStatus.INTERRUPTED
    assert runs.interrupted
    assert not runs.training


class Tells(Callback):
    """Says when it is torn down, and may fail at it."""

    def __init__(self, told, name, fails=""):
        self.told, self.name, self.fails = told, name, fails

    def teardown(self, trainer, pl_module, stage):
        self.told.append(self.name)
        if self.fails == "teardown":
            raise Boom(self.name)

    def on_exception(self, trainer, pl_module, exception):
        self.told.append(f"{self.name} heard")
        if self.fails == "on_exception":
            raise ValueError(self.name)


def test_a_teardown_that_raises_leaves_nobody_out_and_calls_nobody_twice():
    told, logger = [], Finalized()
    module = watched(Module, "module", told)()
    callbacks = [Tells(told, "first"), Tells(told, "second", "teardown"), Tells(told, "third")]
    with pytest.raises(Boom, match="second") as caught:
        trainer(callbacks=callbacks, logger=logger).fit(module)
    assert [name for name in told if not name.endswith(("heard", "_end"))] == [
        *("first", "second", "third", "module.teardown")
    ]
    assert "in `teardown`" in caught.value.__notes__[0]
    assert logger.status == ["failed"]


def test_an_on_exception_that_raises_hides_neither_the_error_nor_the_others():
    told = []
    callbacks = [Tells(told, "first", "on_exception"), Tells(told, "second")]
    with (
        pytest.warns(UserWarning, match="While ending a failed run: ValueError: first"),
        pytest.raises(Boom, match="training_step"),
    ):
        trainer(callbacks=callbacks).fit(failing(Module, "training_step")())
    assert told == ["first heard", "second heard", "first", "second"]


def test_a_callback_that_removes_itself_at_the_end_is_called_once():
    told = []

    class Leaves(Tells):
        def teardown(self, trainer, pl_module, stage):
            super().teardown(trainer, pl_module, stage)
            trainer.callbacks.remove(self)

    trainer(callbacks=[Tells(told, "first"), Leaves(told, "second")]).fit(Module())
    assert told == ["first", "second"]


def test_a_configuration_error_is_heard_of_but_has_no_place_in_a_run():
    told = []
    with pytest.raises(MisconfigurationException, match="no data") as caught:
        trainer(callbacks=Tells(told, "callback")).fit(
            Scheduled(), datamodule=pl.LightningDataModule()
        )
    assert told == ["callback heard", "callback"]
    assert not hasattr(caught.value, "__notes__")


def test_the_note_has_epoch_batch_and_shapes():
    class Late(Module):
        def training_step(self, batch, batch_idx):
            if self.current_epoch == 1 and batch_idx == 2:
                raise Boom
            return super().training_step(batch, batch_idx)

    with pytest.raises(Boom) as caught:
        trainer(max_epochs=3).fit(Late())
    assert caught.value.__notes__ == [
        "in `training_step`, epoch 1, batch 2, batch shapes (2, 4) float32"
    ]


def test_the_note_of_a_validation_names_its_own_batch():
    class Late(Module):
        def validation_step(self, batch, batch_idx):
            if batch_idx == 3:
                raise Boom

    with pytest.raises(Boom) as caught:
        trainer().fit(Late(), val_dataloaders=plain(10))
    assert "in `validation_step`, epoch 0, batch 3" in caught.value.__notes__[0]


@pytest.mark.parametrize("stage", ["train", "validation", "test", "predict"])
@pytest.mark.parametrize("moment", ["start", "end"])
def test_the_note_of_a_batch_hook_names_its_batch(stage, moment):
    class Third(Callback):
        pass

    def hook(self, trainer, pl_module, *args):
        index = args[-1] if stage == "train" else args[-2]
        if index == 2:
            raise Boom

    setattr(Third, f"on_{stage}_batch_{moment}", hook)
    run = {"train": "fit", "validation": "validate"}.get(stage, stage)
    with pytest.raises(Boom) as caught:
        getattr(trainer(callbacks=Third()), run)(Module(), plain())
    assert f"in `on_{stage}_batch_{moment}`, epoch 0, batch 2" in caught.value.__notes__[0]


def test_an_error_of_torch_in_the_backward_pass_has_a_place():
    def second_is_detached(self, batch, batch_idx):
        loss = self.layer(batch).mean()
        return loss if batch_idx == 0 else loss.detach()

    module = Module()
    module.training_step = second_is_detached.__get__(module)
    with pytest.raises(RuntimeError, match="grad") as caught:
        trainer().fit(module)
    assert caught.value.__notes__ == [
        "in the optimization, epoch 0, batch 1, batch shapes (2, 4) float32"
    ]


def test_a_trainer_is_of_use_after_an_error():
    class Once(Module):
        fails = True

        def on_train_epoch_end(self):
            if self.fails:
                self.fails = False
                raise Boom

    module, runs = Once(), trainer(max_epochs=2)
    with pytest.raises(Boom):
        runs.fit(module)
    runs.fit(module)
    assert runs.state.status == TrainerStatus.FINISHED
    assert runs.current_epoch == 2
    assert not runs.interrupted


# --- data sets ----------------------------------------------------------------------------------


class Breaks(Dataset):
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            raise self.error("row 5")
        return torch.ones(4)


class BreaksMidway(IterableDataset):
    def __init__(self, error):
        self.error = error

    def __iter__(self):
        yield from torch.ones(5, 4)
        raise self.error("row 5")


ERRORS = [IndexError, StopIteration, KeyError, OSError]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("stage", ["fit", "validate", "predict"])
def test_an_error_in_a_data_set_never_looks_like_the_end_of_the_epoch(stage, error, workers):
    told = []
    loader = DataLoader(Breaks(error), batch_size=2, num_workers=workers)
    runs = trainer(callbacks=Tells(told, "callback"))
    with pytest.raises((error, DataError)) as caught:
        getattr(runs, stage)(Module(), loader)
    assert "row 5" in str(caught.value)
    assert "between hooks, epoch 0, batch 2" in caught.value.__notes__[0]
    assert told == ["callback heard", "callback"]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("error", [IndexError, ValueError])
def test_an_error_in_a_stream_never_looks_like_its_end(error, workers):
    loader = DataLoader(BreaksMidway(error), batch_size=2, num_workers=workers)
    with pytest.raises((error, DataError), match="row 5"):
        trainer().fit(Module(), loader)


@pytest.mark.parametrize("error", [IndexError, ValueError])
def test_an_error_in_an_iterable_of_ones_own_never_looks_like_its_end(error):
    class Batches:
        def __iter__(self):
            yield torch.ones(2, 4)
            raise error("batch 1")

    with pytest.raises((error, DataError), match="batch 1"):
        trainer().fit(Module(), Batches())


# --- signals ------------------------------------------------------------------------------------


def test_ctrl_c_tears_down_and_ends_the_process_with_130():
    told, logger = [], Finalized()

    class Interrupted(Module):
        def training_step(self, batch, batch_idx):
            raise KeyboardInterrupt

    runs = trainer(callbacks=Tells(told, "callback"), logger=logger)
    with pytest.raises(SystemExit) as caught:
        runs.fit(Interrupted())
    assert caught.value.code == 130
    assert runs.interrupted
    assert runs.state.status == TrainerStatus.INTERRUPTED
    assert told == ["callback heard", "callback"]
    assert logger.status == ["failed"]


def test_ctrl_c_in_an_interactive_session_returns(monkeypatch):
    class Interrupted(Module):
        def training_step(self, batch, batch_idx):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    runs = trainer()
    runs.fit(Interrupted())
    assert runs.interrupted
