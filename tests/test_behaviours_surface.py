"""Names, files and small things that programs read and nobody documents on one page."""

import gc
import importlib
import subprocess
import sys
import textwrap

import pytest
import torch
from tests.small_runs import Memory, Small, loader, trainer
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    TQDMProgressBar,
)
from pytorch_lightning.core.hooks import HOOKS
from pytorch_lightning.precision import MixedPrecision
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerStatus

# --- states -------------------------------------------------------------------------------------


def test_the_state_of_a_trainer_can_be_read_in_every_stage():
    seen = []

    class Looking(Callback):
        def look(self, trainer, *args):
            seen.append((trainer.state.fn, trainer.state.stage, trainer.state.status))

        on_sanity_check_start = on_train_start = on_validation_start = look
        on_test_start = on_predict_start = look

    of = trainer(callbacks=[Looking()], num_sanity_val_steps=1)
    module = Small()
    of.fit(module)
    of.test(module, verbose=False)
    of.predict(module)
    running = TrainerStatus.RUNNING
    assert seen == [
        (TrainerFn.FITTING, RunningStage.SANITY_CHECKING, running),
        (TrainerFn.FITTING, RunningStage.SANITY_CHECKING, running),
        (TrainerFn.FITTING, RunningStage.TRAINING, running),
        (TrainerFn.FITTING, RunningStage.VALIDATING, running),
        (TrainerFn.TESTING, RunningStage.TESTING, running),
        (TrainerFn.PREDICTING, RunningStage.PREDICTING, running),
    ]
    assert (of.state.status, of.state.stage) == (TrainerStatus.FINISHED, None)


def test_stages_print_as_plain_words():
    seen = []

    class Speaking(Small):
        def setup(self, stage):
            seen.append(f"{stage}")

    of, module = trainer(), Speaking()
    of.fit(module)
    of.validate(module, verbose=False)
    assert seen == ["fit", "validate"]
    assert f"{of.state.fn}" == "validate"
    assert f"{TrainerFn.FITTING}" == str(TrainerFn.FITTING) == "fit"


def test_none_means_the_default():
    of = pl.Trainer(
        devices=None, accelerator=None, max_epochs=None, callbacks=None, precision=None, logger=None
    )
    assert (of.num_devices, of.precision) == (1, "32-true")
    assert isinstance(of.logger, pl.loggers.TensorBoardLogger)


@pytest.mark.parametrize(
    ("given", "name"), [("32", "32-true"), ("64", "64-true"), (32, "32-true"), (64, "64-true")]
)
def test_precision_by_number_and_by_word(given, name):
    of = trainer(precision=given)
    of.fit(Small())
    assert of.precision == name


# --- callbacks that programs look into ----------------------------------------------------------


def test_bars_have_the_attributes_that_subclasses_touch():
    class Own(TQDMProgressBar):
        def init_train_tqdm(self):
            bar = super().init_train_tqdm()
            bar.set_description("mine")
            return bar

    bar = Own(refresh_rate=3)
    assert bar.refresh_rate == 3
    of = trainer(callbacks=[bar], enable_progress_bar=True, num_sanity_val_steps=1)
    module = Small()
    of.fit(module)
    assert bar.train_progress_bar.n == 4
    assert bar.main_progress_bar is bar.train_progress_bar
    for name in ("val_progress_bar", "sanity_progress_bar"):
        assert getattr(bar, name).total is not None
    of.predict(module)
    assert bar.predict_progress_bar.n == 2
    module_of_bars = importlib.import_module("pytorch_lightning.callbacks.progress.tqdm_progress")
    assert module_of_bars.Tqdm.format_num(0.123456) == "0.123"


def test_the_bar_shows_the_version_and_what_was_logged_for_it():
    class Logging(Small):
        def training_step(self, batch, batch_idx):
            self.log("shown", 1.0, prog_bar=True)
            self.log("hidden", 2.0)
            return self.loss(batch)

    bar = TQDMProgressBar()
    of = trainer(logger=Memory(version=7), callbacks=[bar], enable_progress_bar=True)
    of.fit(Logging())
    assert bar.get_metrics(of, of.lightning_module) == {"v_num": 7, "shown": 1.0}


def test_checkpoint_callbacks_can_be_read():
    callback = ModelCheckpoint("x", monitor="val_loss", save_top_k=2, save_last=True)
    trainer(callbacks=[callback], max_epochs=3).fit(Small())
    assert callback.state_key.startswith("ModelCheckpoint{'monitor': 'val_loss', 'mode': 'min'")
    assert len(callback.best_k_models) == 2
    assert callback.kth_best_model_path in callback.best_k_models
    assert callback.last_model_path.endswith("last.ckpt")


def test_a_monitor_of_rates_needs_a_logger():
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="logger"):
        trainer(callbacks=[LearningRateMonitor()]).fit(Small())
    monitor, logger = LearningRateMonitor("epoch"), Memory()
    trainer(callbacks=[monitor], logger=logger).fit(Small())
    assert logger.points("lr-SGD") == [(0, 0.1)]


def test_stopping_takes_its_best_score_from_the_file_and_its_patience_from_the_program(tmp_path):
    first = trainer(callbacks=[EarlyStopping("val_loss", patience=1)])
    first.fit(Small())
    first.save_checkpoint(tmp_path / "x.ckpt")
    stopping = EarlyStopping("val_loss", patience=5)
    of = trainer(callbacks=[stopping])
    of.fit(Small(), ckpt_path=tmp_path / "x.ckpt")
    assert stopping.patience == 5
    assert stopping.best_score == first.early_stopping_callback.best_score


def test_the_summary_shows_sizes_where_there_is_an_example(caplog):
    class Sized(Small):
        example_input_array = torch.zeros(3, 4)

    with caplog.at_level("INFO"):
        trainer(callbacks=[ModelSummary()], enable_model_summary=True).fit(Sized())
    assert "In sizes" in caplog.text
    assert "[3, 4]" in caplog.text
    assert "[3, 1]" in caplog.text


# --- the checkpoint file ------------------------------------------------------------------------

TOP_LEVEL = {
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "state_dict",
    "loops",
    "callbacks",
    "optimizer_states",
    "lr_schedulers",
}


def test_hooks_see_the_documented_keys_and_no_others():
    seen = []

    class Saving(Small):
        def on_save_checkpoint(self, checkpoint):
            seen.append(set(checkpoint))
            checkpoint["mine"] = 1

    of = trainer()
    of.fit(Saving())
    of.save_checkpoint("x.ckpt")
    assert seen == [TOP_LEVEL]
    assert set(torch.load("x.ckpt", weights_only=True)) == TOP_LEVEL | {"mine"}


def test_a_checkpoint_is_one_call_of_torch_save(monkeypatch):
    calls, save = [], torch.save

    def wrapped(checkpoint, *args, **kwargs):
        calls.append(set(checkpoint))
        return save(checkpoint, *args, **kwargs)

    of = trainer()
    of.fit(Small())
    monkeypatch.setattr(torch, "save", wrapped)
    of.save_checkpoint("x.ckpt")
    assert calls == [TOP_LEVEL]


def test_hyperparameters_that_cannot_be_kept_are_dropped_with_a_warning():
    class Holding(Small):
        def __init__(self, width, function):
            super().__init__()
            self.save_hyperparameters()

    with pytest.warns(UserWarning, match="function"):
        of = trainer(logger=Memory())
        of.fit(Holding(3, lambda: None))
        of.save_checkpoint("x.ckpt")
    assert torch.load("x.ckpt", weights_only=True)["hyper_parameters"] == {"width": 3}


def test_trust_is_asked_for_in_every_entry_point_and_handed_on():
    asked = []
    of, module = trainer(), Small()
    of.fit(module)
    of.save_checkpoint("x.ckpt")
    load = of.strategy.checkpoint_io.load_checkpoint

    def spy(path, map_location=None, weights_only=None):
        asked.append(weights_only)
        return load(path, map_location, weights_only)

    of.strategy.checkpoint_io.load_checkpoint = spy
    of.validate(module, ckpt_path="x.ckpt", verbose=False, weights_only=True)
    of.test(module, ckpt_path="x.ckpt", verbose=False)
    of.predict(module, ckpt_path="x.ckpt", weights_only=False)
    of.fit_loop.max_epochs = 2
    of.fit(module, ckpt_path="x.ckpt", weights_only=True)
    assert asked == [True, None, False, True]


# --- what a run does not do ---------------------------------------------------------------------


def test_loader_classes_stay_as_they_are_and_text_of_a_datamodule_builds_none():
    before = (DataLoader.__init__, DataLoader.__setattr__, DataLoader.__iter__)

    class Own(DataLoader):
        def __init__(self, size):
            super().__init__(torch.zeros(size, 4), batch_size=2)

    class Data(pl.LightningDataModule):
        built = 0

        def train_dataloader(self):
            type(self).built += 1
            return loader(4)

    own = Own.__init__
    trainer(limit_val_batches=0).fit(Small(), Data())
    trainer().predict(Small(), loader(4, drop_last=True))
    trainer().predict(Small(), Own(4))
    assert (DataLoader.__init__, DataLoader.__setattr__, DataLoader.__iter__) == before
    assert Own.__init__ is own
    built = Data.built
    assert str(Data())
    assert Data.built == built


def test_mixed_precision_leaves_torch_as_it_is():
    before = [torch.no_grad, torch.inference_mode, torch.enable_grad, torch.autocast]
    inside = []

    class Looking(Small):
        def training_step(self, batch, batch_idx):
            inside.append([torch.no_grad, torch.inference_mode, torch.enable_grad, torch.autocast])
            return self.loss(batch)

    of = trainer(precision="bf16-mixed")
    of.fit(Looking())
    assert isinstance(of.precision_plugin, MixedPrecision)
    assert inside == [before] * 4


def test_no_collective_call_per_batch():
    calls = []
    of = trainer(limit_val_batches=0, max_epochs=1)
    for name in ("broadcast", "barrier", "all_gather", "reduce", "reduce_boolean_decision"):
        setattr(of.strategy, name, _counted(getattr(of.strategy, name), name, calls))
    of.fit(Small(), loader(4))
    few = len(calls)
    calls.clear()
    of.fit_loop.max_epochs = 2
    of.fit(Small(), loader(40))
    assert len(calls) <= few


def _counted(function, name, calls):
    def call(*args, **kwargs):
        calls.append(name)
        return function(*args, **kwargs)

    return call


def test_names_out_of_a_test_are_not_looked_for():
    touched = []

    class Manual(Small):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

        def __getattr__(self, name):
            if name in ("saved_models",):
                touched.append(name)
            return super().__getattr__(name)

    of = trainer(callbacks=[ModelCheckpoint("x", every_n_train_steps=2, save_top_k=-1)])
    of.fit(Manual())
    assert touched == []


def test_making_a_trainer_says_nothing_of_other_products_and_looks_for_none():
    program = """
        import sys
        looked = []

        class Looking:
            def find_spec(self, name, path=None, target=None):
                looked.append(name.partition(".")[0])

        sys.meta_path.insert(0, Looking())
        import pytorch_lightning as pl
        from pytorch_lightning.demos.boring_classes import BoringModel
        pl.Trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=1).fit(BoringModel())
        assert not {"litlogger", "litmodels", "lightning_sdk", "lightning_cloud"} & set(looked)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = (done.stdout + done.stderr).lower()
    assert "tip" not in said
    assert "litlogger" not in said
    assert "http" not in said


def test_the_trainer_goes_with_its_module():
    module = Small()
    of = trainer()
    of.fit(module)
    assert module.trainer is of
    del of
    gc.collect()
    assert module.trainer.current_epoch == 1


def test_the_trainer_calls_no_public_method_beyond_the_documented_ones():
    documented = set(dir(pl.LightningModule)) | set(HOOKS)  # the table has those of 1.x too
    called = set()

    class Watched(Small):
        def __getattribute__(self, name):
            called.add(name)
            return super().__getattribute__(name)

    of = trainer(callbacks=[ModelCheckpoint("x")])
    module = Watched()
    of.fit(module)
    of.test(module, verbose=False)
    public = {name for name in called if not name.startswith("_")}
    assert public <= documented | {"loss", "layer", "training"}


@pytest.mark.parametrize(
    "path",
    [
        "core.saving.load_hparams_from_yaml",
        "core.saving.save_hparams_to_yaml",
        "core.saving.load_hparams_from_tags_csv",
        "core.saving.save_hparams_to_tags_csv",
        "loggers.csv_logs.ExperimentWriter",
        "callbacks.early_stopping.EarlyStoppingReason",
        "utilities.model_summary.model_summary.UNKNOWN_SIZE",
        "callbacks.progress.tqdm_progress.Tqdm",
        "trainer.states.TrainerFn",
    ],
)
def test_names_that_no_page_lists_are_there(path):
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(f"pytorch_lightning.{module}"), name)


def test_states_that_callbacks_return_when_saving_are_not_kept():
    class Old(Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            return {"count": 3}

    of = trainer(callbacks=[Old()])
    of.fit(Small())
    of.save_checkpoint("x.ckpt")
    states = torch.load("x.ckpt", weights_only=True)["callbacks"]
    assert [key for key in states if "Old" in key] == []


def test_rates_can_be_read_by_other_callbacks():
    of = trainer(callbacks=[LearningRateMonitor("epoch")], logger=Memory())
    of.fit(Small())
    assert of.callback_metrics["lr-SGD"].item() == pytest.approx(0.1)
