"""What can be read of a trainer, before, during and after each stage."""

import math

import pytest
import torch
from tests.trainer.watched import Endless, Numbers, Watched, WithLoaders, numbers, quiet

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins import Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerStatus

_TEXT = (
    "accelerator strategy precision_plugin precision scaler global_rank local_rank node_rank "
    "world_size num_nodes num_devices device_ids is_global_zero distributed_sampler_kwargs "
    "lightning_module model optimizers lr_scheduler_configs datamodule train_dataloader "
    "val_dataloaders test_dataloaders predict_dataloaders num_training_batches num_val_batches "
    "num_test_batches num_predict_batches num_sanity_val_batches enable_validation is_last_batch "
    "max_epochs min_epochs max_steps min_steps limit_train_batches limit_val_batches "
    "limit_test_batches limit_predict_batches val_check_interval val_check_batch "
    "check_val_every_n_epoch num_sanity_val_steps overfit_batches fast_dev_run "
    "reload_dataloaders_every_n_epochs accumulate_grad_batches gradient_clip_val "
    "gradient_clip_algorithm log_every_n_steps barebones current_epoch global_step should_stop "
    "state training validating testing predicting sanity_checking evaluating interrupted "
    "received_sigterm logger loggers log_dir default_root_dir callback_metrics logged_metrics "
    "progress_bar_metrics callbacks checkpoint_callback checkpoint_callbacks "
    "early_stopping_callback early_stopping_callbacks progress_bar_callback ckpt_path profiler "
    "fit_loop validate_loop test_loop predict_loop"
)
NAMES = _TEXT.split()


def everything(trainer):
    return {name: getattr(trainer, name) for name in NAMES}


class Reads(WithLoaders):
    """Reads all properties in a step of each stage."""

    def __init__(self):
        super().__init__()
        self.read = {}

    def training_step(self, batch, batch_idx):
        self.read["train"] = everything(self.trainer)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        stage = "sanity" if self.trainer.sanity_checking else "fit validation"
        stage = stage if self.trainer.state.fn == "fit" else "validate"
        self.read[stage] = everything(self.trainer)
        super().validation_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        self.read["test"] = everything(self.trainer)

    def predict_step(self, batch, batch_idx):
        self.read["predict"] = everything(self.trainer)


@pytest.fixture(scope="module")
def read():
    module, trainer = Reads(), quiet(max_epochs=2, num_sanity_val_steps=1)
    module.read["before"] = everything(trainer)
    trainer.fit(module)
    module.read["after fit"] = everything(trainer)
    trainer.validate(module, verbose=False)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    module.read["after predict"] = everything(trainer)
    return module.read


FLAGS = ("sanity_checking", "training", "validating", "testing", "predicting", "evaluating")
STAGES = ["sanity", "train", "fit validation", "validate", "test", "predict"]


def test_everything_can_be_read_in_every_stage(read):
    moments = {"before", "after fit", "after predict", *STAGES}
    assert set(read) == moments
    assert all(set(values) == set(NAMES) for values in read.values())


def test_hardware(read):
    for values in read.values():
        assert isinstance(values["accelerator"], CPUAccelerator)
        assert isinstance(values["strategy"], SingleDeviceStrategy)
        assert isinstance(values["precision_plugin"], Precision)
        assert (values["precision"], values["scaler"]) == ("32-true", None)
        ranks = [values[name] for name in ("global_rank", "local_rank", "node_rank")]
        assert ranks == [0, 0, 0]
        sizes = [values[name] for name in ("world_size", "num_nodes", "num_devices")]
        assert sizes == [1, 1, 1]
        assert values["device_ids"] == [0]
        assert values["is_global_zero"] is True
        assert values["distributed_sampler_kwargs"] is None


def test_state_says_which_verb_and_stage_runs(read):
    expected = {
        "sanity": (TrainerFn.FITTING, RunningStage.SANITY_CHECKING, "sanity_checking"),
        "train": (TrainerFn.FITTING, RunningStage.TRAINING, "training"),
        "fit validation": (TrainerFn.FITTING, RunningStage.VALIDATING, "validating"),
        "validate": (TrainerFn.VALIDATING, RunningStage.VALIDATING, "validating"),
        "test": (TrainerFn.TESTING, RunningStage.TESTING, "testing"),
        "predict": (TrainerFn.PREDICTING, RunningStage.PREDICTING, "predicting"),
    }
    module, trainer = StateReader(), quiet(num_sanity_val_steps=1)
    assert (trainer.state.status, trainer.state.stage) == (TrainerStatus.INITIALIZING, None)
    trainer.fit(module)
    assert (trainer.state.status, trainer.state.stage) == (TrainerStatus.FINISHED, None)
    trainer.validate(module, verbose=False)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    flags = ("sanity_checking", "training", "validating", "testing", "predicting")
    for moment, (fn, stage, flag) in expected.items():
        values = module.states[moment]
        assert values["fn"] is fn
        assert values["stage"] is stage
        assert values["status"] is TrainerStatus.RUNNING
        assert [name for name in flags if values[name]] == [flag]
        evaluating = moment in ("sanity", "fit validation", "validate", "test")
        assert values["evaluating"] is evaluating
    for values in (read["before"], read["after fit"], read["after predict"]):
        assert not any(values[name] for name in (*flags, "evaluating", "interrupted"))


class StateReader(WithLoaders):
    def __init__(self):
        super().__init__()
        self.states = {}

    def keep(self, moment):
        trainer = self.trainer
        self.states[moment] = {
            **{name: getattr(trainer, name) for name in FLAGS},
            "fn": trainer.state.fn,
            "stage": trainer.state.stage,
            "status": trainer.state.status,
        }

    def training_step(self, batch, batch_idx):
        self.keep("train")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        inside = "sanity" if self.trainer.sanity_checking else "fit validation"
        self.keep(inside if self.trainer.state.fn == "fit" else "validate")

    def test_step(self, batch, batch_idx):
        self.keep("test")

    def predict_step(self, batch, batch_idx):
        self.keep("predict")


def test_states_are_plain_strings_too():
    assert f"{TrainerFn.FITTING}" == str(TrainerFn.FITTING) == TrainerFn.FITTING.value == "fit"
    assert [str(fn) for fn in TrainerFn] == ["fit", "validate", "test", "predict"]
    assert RunningStage.SANITY_CHECKING.dataloader_prefix == "val"
    assert RunningStage.TESTING.dataloader_prefix == "test"
    assert TrainerStatus.FINISHED == "finished"


def test_lengths_of_loaders(read):
    assert read["before"]["num_training_batches"] == 0
    assert read["train"]["num_training_batches"] == 4
    assert read["fit validation"]["num_val_batches"] == read["validate"]["num_val_batches"] == [2]
    assert read["sanity"]["num_sanity_val_batches"] == [1]
    assert read["test"]["num_test_batches"] == read["predict"]["num_predict_batches"] == [2]
    assert read["train"]["enable_validation"] is True
    assert read["train"]["is_last_batch"] is True


def test_lengths_that_are_unknown_are_infinite():
    class Length(Watched):
        def training_step(self, batch, batch_idx):
            self.length = self.trainer.num_training_batches
            return super().training_step(batch, batch_idx)

    module = Length()
    quiet().fit(module, Endless(2))
    assert module.length == math.inf


def test_loaders_are_those_that_were_given():
    kept = {}

    class Keeps(Watched):
        def training_step(self, batch, batch_idx):
            kept["train"] = self.trainer.train_dataloader
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            kept["val"] = self.trainer.val_dataloaders

        def test_step(self, batch, batch_idx):
            kept["test"] = self.trainer.test_dataloaders

        def predict_step(self, batch, batch_idx):
            kept["predict"] = self.trainer.predict_dataloaders

    module, train, val, other = Keeps(), numbers(), [numbers(), numbers()], numbers()
    quiet().fit(module, train, val)
    quiet().test(module, other, verbose=False)
    quiet().predict(module, other)
    assert kept["train"] is train
    assert kept["val"] is val
    assert kept["test"] is other
    assert kept["predict"] is other


def test_module_and_optimizers(read):
    module = read["train"]["lightning_module"]
    assert isinstance(module, Reads)
    assert read["train"]["model"] is module
    assert read["before"]["lightning_module"] is None
    assert [type(o) for o in read["train"]["optimizers"]] == [torch.optim.SGD]
    assert read["train"]["lr_scheduler_configs"] == []


def test_optimizers_can_be_replaced():
    class Replaces(WithLoaders):
        def on_fit_start(self):
            self.other = torch.optim.SGD(self.parameters(), lr=0.5)
            self.trainer.optimizers = [self.other]

        def on_train_start(self):
            self.found = self.trainer.optimizers

    module = Replaces()
    quiet().fit(module)
    assert module.found == [module.other]


def test_limits_are_those_that_were_given():
    given = {
        "max_epochs": 3,
        "min_epochs": 2,
        "max_steps": 50,
        "min_steps": 4,
        "limit_train_batches": 0.5,
        "limit_val_batches": 3,
        "limit_test_batches": 4,
        "limit_predict_batches": 0.25,
        "val_check_interval": 0.5,
        "check_val_every_n_epoch": 2,
        "num_sanity_val_steps": 5,
        "reload_dataloaders_every_n_epochs": 7,
        "accumulate_grad_batches": 8,
        "gradient_clip_val": 0.5,
        "gradient_clip_algorithm": "value",
        "log_every_n_steps": 9,
    }
    trainer = quiet(**given)
    assert {name: getattr(trainer, name) for name in given} == given
    assert (trainer.fast_dev_run, trainer.overfit_batches, trainer.barebones) == (False, 0.0, False)


def test_defaults_of_limits():
    trainer = pl.Trainer(logger=False)
    expected = {
        "max_epochs": None,
        "min_epochs": None,
        "max_steps": -1,
        "min_steps": None,
        "limit_train_batches": 1.0,
        "limit_val_batches": 1.0,
        "limit_test_batches": 1.0,
        "limit_predict_batches": 1.0,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
        "num_sanity_val_steps": 2,
        "reload_dataloaders_every_n_epochs": 0,
        "accumulate_grad_batches": 1,
        "gradient_clip_val": None,
        "gradient_clip_algorithm": None,
        "log_every_n_steps": 50,
    }
    assert {name: getattr(trainer, name) for name in expected} == expected


def test_what_may_be_written_while_a_run_goes_on():
    class Writes(WithLoaders):
        def on_train_epoch_start(self):
            self.trainer.accumulate_grad_batches = 2

        def training_step(self, batch, batch_idx):
            self.trainer.should_stop = batch_idx == 2
            return super().training_step(batch, batch_idx)

    module, trainer = Writes(), quiet(max_epochs=9)
    trainer.fit(module)
    assert (module.count("train"), trainer.global_step) == (3, 2)
    assert trainer.accumulate_grad_batches == 2


def test_progress_in_hooks():
    class Progress(WithLoaders):
        def on_train_epoch_start(self):
            self.note("start", self.trainer.current_epoch, self.trainer.global_step)

        def on_train_epoch_end(self):
            self.note("end", self.trainer.current_epoch, self.trainer.global_step)

        def on_train_end(self):
            self.note("over", self.trainer.current_epoch, self.trainer.global_step)

    module = Progress()
    quiet(max_epochs=2, limit_val_batches=0).fit(module)
    assert [e for e in module.seen if e[0] != "train"] == [
        ("start", 0, 0),
        ("end", 0, 4),
        ("start", 1, 4),
        ("end", 1, 8),
        ("over", 2, 8),
    ]


def test_loops_of_other_releases_can_be_read():
    class Loops(WithLoaders):
        def training_step(self, batch, batch_idx):
            loop = self.trainer.fit_loop
            counts = (loop.batch_idx, loop.epoch_loop.batch_idx, loop.total_batch_idx)
            epoch = loop.epoch_progress.current
            self.note("loop", *counts, epoch.ready, epoch.completed)
            return super().training_step(batch, batch_idx)

        def predict_step(self, batch, batch_idx):
            self.note("ids", *self.trainer.predict_loop.current_batch_indices)
            return super().predict_step(batch, batch_idx)

        def on_predict_batch_end(self, outputs, batch, batch_idx, dataloader_idx=0):
            pass

    module, trainer = Loops(), quiet(max_epochs=2, limit_val_batches=0)
    trainer.fit(module, numbers(4))
    assert [e[1:] for e in module.seen if e[0] == "loop"] == [
        (0, 0, 0, 1, 0),
        (1, 1, 1, 1, 0),
        (0, 0, 2, 2, 1),
        (1, 1, 3, 2, 1),
    ]
    assert trainer.fit_loop.max_epochs == 2
    assert trainer.fit_loop.epoch_progress.current.completed == 2
    assert trainer.fit_loop.epoch_loop.batch_progress.total.completed == 4
    assert trainer.fit_loop.epoch_loop.val_loop is not None
    trainer.predict(module)
    loop = trainer.predict_loop
    assert [batch.tolist() for batch in loop.predictions] == [[20, 21], [22, 23]]
    assert loop.epoch_batch_indices == [[[0, 1], [2, 3]]]
    assert (loop.return_predictions, loop.num_dataloaders, loop.max_batches) == (True, 1, [2])
    assert [e[1:] for e in module.seen if e[0] == "ids"] == [(0, 1), (2, 3)]
    trainer.test(module, verbose=False)
    assert (trainer.test_loop.num_dataloaders, trainer.test_loop.max_batches) == (1, [2])


def test_what_was_known_of_training_stays_readable():
    trainer, module, train = quiet(), WithLoaders(), numbers(6)
    trainer.fit(module, train)
    trainer.test(module, verbose=False)
    assert trainer.num_training_batches == 3
    assert trainer.train_dataloader is train
    assert (trainer.num_val_batches, trainer.num_test_batches) == ([2], [2])


def test_logging(tmp_path):
    logger = CSVLogger(tmp_path)
    trainer = quiet(logger=logger, default_root_dir=tmp_path)
    assert trainer.logger is logger
    assert trainer.loggers == [logger]
    assert trainer.log_dir == logger.log_dir
    assert trainer.default_root_dir == str(tmp_path)
    trainer.logger = None
    assert (trainer.logger, trainer.loggers) == (None, [])
    assert trainer.log_dir == str(tmp_path)
    trainer.loggers = [logger, CSVLogger(tmp_path, version=9)]
    assert trainer.logger is logger


def test_metrics_before_during_and_after(read):
    assert read["before"]["callback_metrics"] == {}
    assert read["before"]["logged_metrics"] == {}
    assert read["before"]["progress_bar_metrics"] == {}
    assert read["after fit"]["callback_metrics"] == {"val_mean": torch.tensor(1.5)}
    assert read["after fit"]["logged_metrics"] == {"val_mean": torch.tensor(1.5)}


def test_metrics_of_the_progress_bar_are_numbers():
    class Bar(WithLoaders):
        def validation_step(self, batch, batch_idx):
            self.log("shown", batch.mean(), prog_bar=True)

    trainer = quiet()
    trainer.fit(Bar())
    assert trainer.progress_bar_metrics == {"shown": 1.5}


def test_callbacks(tmp_path):
    stop, again = EarlyStopping("val_mean"), EarlyStopping("train_mean")
    save, bar = ModelCheckpoint(tmp_path), TQDMProgressBar()
    given = [save, stop, again, bar]
    trainer = pl.Trainer(logger=False, callbacks=given, enable_model_summary=False)
    assert trainer.callbacks == [stop, again, bar, save]  # those that save come last
    assert (trainer.checkpoint_callback, trainer.checkpoint_callbacks) == (save, [save])
    assert (trainer.early_stopping_callback, trainer.early_stopping_callbacks) == (
        stop,
        [stop, again],
    )
    assert trainer.progress_bar_callback is bar
    assert type(trainer.profiler) is PassThroughProfiler
    bare = quiet()
    assert (bare.callbacks, bare.checkpoint_callback, bare.early_stopping_callback) == (
        [],
        None,
        None,
    )
    assert bare.progress_bar_callback is None


def test_the_datamodule_is_attached_while_and_after_it_runs():
    data, trainer = Numbers(), quiet()
    assert data.trainer is None
    trainer.fit(Watched(), datamodule=data)
    assert trainer.datamodule is data
    assert data.trainer is trainer


def test_an_interrupted_run_says_so():
    class Fails(WithLoaders):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    trainer = quiet()
    with pytest.raises(RuntimeError, match="broken"):
        trainer.fit(Fails())
    assert trainer.interrupted
    assert trainer.state.status == "interrupted"
    assert not trainer.training
