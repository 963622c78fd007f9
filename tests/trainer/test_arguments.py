"""The arguments of the constructor: forms, defaults, the environment, and what is gone."""

import inspect
from argparse import ArgumentParser
from datetime import timedelta

import pytest
import torch
from tests.trainer.watched import Watched, WithLoaders, numbers, quiet

import pytorch_lightning as pl
from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.callbacks import (
    GradientAccumulationScheduler,
    ModelCheckpoint,
    ModelSummary,
    ProgressBar,
    RichProgressBar,
    Timer,
    TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.plugins import MixedPrecision, TorchCheckpointIO
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

DOCUMENTED = {
    "accelerator": "auto",
    "strategy": "auto",
    "devices": "auto",
    "num_nodes": 1,
    "precision": None,
    "logger": None,
    "callbacks": None,
    "fast_dev_run": False,
    "max_epochs": None,
    "min_epochs": None,
    "max_steps": -1,
    "min_steps": None,
    "max_time": None,
    "limit_train_batches": None,
    "limit_val_batches": None,
    "limit_test_batches": None,
    "limit_predict_batches": None,
    "overfit_batches": 0.0,
    "val_check_interval": None,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": None,
    "log_every_n_steps": None,
    "enable_checkpointing": None,
    "enable_progress_bar": None,
    "enable_model_summary": None,
    "accumulate_grad_batches": 1,
    "gradient_clip_val": None,
    "gradient_clip_algorithm": None,
    "deterministic": None,
    "benchmark": None,
    "inference_mode": True,
    "use_distributed_sampler": True,
    "profiler": None,
    "detect_anomaly": False,
    "barebones": False,
    "plugins": None,
    "sync_batchnorm": False,
    "reload_dataloaders_every_n_epochs": 0,
    "default_root_dir": None,
    "enable_autolog_hparams": True,
    "model_registry": None,
}


def kinds(trainer):
    return [type(callback) for callback in trainer.callbacks]


def test_names_order_and_defaults():
    found = inspect.signature(pl.Trainer.__init__).parameters
    public = {name: p.default for name, p in found.items() if name[0] != "_" and name != "self"}
    assert list(public.items()) == list(DOCUMENTED.items())
    assert all(found[name].kind is inspect.Parameter.KEYWORD_ONLY for name in public)


def test_none_means_the_default_everywhere():
    given = dict.fromkeys(DOCUMENTED)
    del given["check_val_every_n_epoch"]  # there None means something else
    trainer = pl.Trainer(**given)
    usual = pl.Trainer()
    assert kinds(trainer) == kinds(usual)
    for name in ("max_steps", "num_devices", "precision", "fast_dev_run", "log_every_n_steps"):
        assert getattr(trainer, name) == getattr(usual, name)


def test_arguments_are_passed_by_name():
    with pytest.raises(TypeError, match="by name"):
        pl.Trainer(False)


# --- hardware -----------------------------------------------------------------------------------


@pytest.mark.parametrize("accelerator", ["cpu", "auto", None, CPUAccelerator()])
def test_accelerators(accelerator):
    assert isinstance(quiet(accelerator=accelerator).accelerator, CPUAccelerator)


def test_accelerators_that_are_missing_or_unknown():
    with pytest.raises(MisconfigurationException, match="'gpu'.*Available: 'cpu'"):
        quiet(accelerator="gpu", devices=8)
    with pytest.raises(ValueError, match="'cpus'.*'cpu'"):
        quiet(accelerator="cpus")


@pytest.mark.parametrize("strategy", ["auto", None, "single_device", SingleDeviceStrategy("cpu")])
def test_strategies(strategy):
    assert isinstance(quiet(strategy=strategy).strategy, SingleDeviceStrategy)


def test_strategies_by_name():
    assert type(quiet(accelerator="cpu", strategy="ddp").strategy).__name__ == "DDPStrategy"
    with pytest.raises(ValueError, match="'single_devise'.*single_device"):
        quiet(strategy="single_devise")


def test_parts_cannot_be_chosen_twice():
    with pytest.raises(MisconfigurationException, match="accelerator"):
        quiet(strategy=SingleDeviceStrategy("cpu", accelerator=CPUAccelerator()), accelerator="cpu")


@pytest.mark.parametrize("devices", ["auto", None, 1, "1", -1, "-1"])
def test_devices(devices):
    assert quiet(accelerator="cpu", devices=devices).num_devices == 1


@pytest.mark.parametrize("devices", [0, "0", []])
def test_no_devices_at_all(devices):
    with pytest.raises(MisconfigurationException, match="at least one device"):
        quiet(devices=devices)


def test_several_devices_of_the_cpu_are_processes():
    made = quiet(accelerator="cpu", devices=2)
    assert (made.num_devices, made.world_size, made.global_rank) == (2, 2, 0)
    assert type(made.strategy).__name__ == "DDPStrategy"
    with pytest.raises((TypeError, MisconfigurationException), match="devices"):
        quiet(accelerator="cpu", devices=[0, 1])


def test_num_nodes():
    assert quiet(num_nodes=1).num_nodes == 1
    with pytest.raises(ValueError, match="num_nodes=0"):
        quiet(num_nodes=0)
    made = quiet(accelerator="cpu", devices=2, num_nodes=2)
    assert (made.num_nodes, made.num_devices, made.world_size) == (2, 2, 4)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (None, "32-true"),
        (32, "32-true"),
        ("32", "32-true"),
        ("32-true", "32-true"),
        (64, "64-true"),
        ("64", "64-true"),
        (16, "16-mixed"),
        ("16", "16-mixed"),
        ("bf16", "bf16-mixed"),
        ("bf16-mixed", "bf16-mixed"),
        ("bf16-true", "bf16-true"),
        ("16-true", "16-true"),
    ],
)
def test_precisions(given, name):
    assert quiet(precision=given).precision == name


def test_precision_reaches_the_module():
    class Type(Watched):
        def training_step(self, batch, batch_idx):
            self.note("type", batch.dtype, self.layer.weight.dtype)
            return super().training_step(batch, batch_idx)

    module = Type()
    quiet(precision=64).fit(module, numbers(2))
    assert module.seen[0] == ("type", torch.float64, torch.float64)
    with pytest.raises(ValueError, match="precision=8"):
        quiet(precision=8)


def test_plugins_are_one_of_each_kind():
    io, precision = TorchCheckpointIO(), MixedPrecision("bf16-mixed", "cpu")
    trainer = quiet(plugins=[io, precision, LightningEnvironment()])
    assert trainer.strategy.checkpoint_io is io
    assert trainer.precision_plugin is precision
    assert quiet(plugins=io).strategy.checkpoint_io is io
    with pytest.raises(MisconfigurationException, match="two of a kind"):
        quiet(plugins=[io, TorchCheckpointIO()])
    with pytest.raises(MisconfigurationException, match="plugins='ddp'"):
        quiet(plugins="ddp")


# --- loggers and callbacks ----------------------------------------------------------------------


def test_loggers(tmp_path):
    mine = CSVLogger(tmp_path)
    default = pl.Trainer(default_root_dir=tmp_path)
    assert [type(logger) for logger in default.loggers] == [TensorBoardLogger]
    assert default.logger.save_dir == str(tmp_path)
    assert [type(x) for x in pl.Trainer(logger=True).loggers] == [TensorBoardLogger]
    assert quiet(logger=mine).loggers == [mine]
    assert quiet(logger=(logger for logger in [mine])).loggers == [mine]
    assert quiet(logger=False).loggers == quiet(logger=[]).loggers == []
    with pytest.raises(TypeError, match="logger='csv'|no `Logger`"):
        quiet(logger="csv")


def test_without_tensorboard_metrics_go_to_csv_files(monkeypatch):
    from pytorch_lightning.trainer import defaults

    monkeypatch.setattr(defaults, "module_available", lambda name: False)
    assert [type(logger) for logger in pl.Trainer().loggers] == [CSVLogger]


def test_the_version_is_the_job_of_slurm(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert pl.Trainer().logger.version in ("1234", 1234)


def test_callbacks_may_be_one_or_several():
    one = Timer(timedelta(hours=1))
    assert quiet(callbacks=one).callbacks == quiet(callbacks=[one]).callbacks == [one]
    with pytest.raises(TypeError, match="add \\(\\)"):
        quiet(callbacks=[Timer])


def test_automatic_callbacks(tmp_path):
    assert kinds(pl.Trainer(enable_progress_bar=False)) == [ModelSummary, ModelCheckpoint]
    bar = next(c for c in pl.Trainer().callbacks if isinstance(c, ProgressBar))
    assert isinstance(bar, ProgressBar)
    for flag in ("enable_checkpointing", "enable_progress_bar", "enable_model_summary"):
        assert len(kinds(pl.Trainer(**{flag: False}))) == 2
    own = [ModelCheckpoint(tmp_path), TQDMProgressBar(), ModelSummary(2)]
    trainer = pl.Trainer(callbacks=own)
    assert sorted(map(id, trainer.callbacks)) == sorted(map(id, own))


@pytest.mark.parametrize(
    ("flag", "callback"),
    [("enable_checkpointing", ModelCheckpoint), ("enable_progress_bar", TQDMProgressBar)],
)
def test_flags_against_callbacks(flag, callback):
    with pytest.raises(MisconfigurationException, match=f"{flag}=False.*{callback.__name__}"):
        pl.Trainer(callbacks=callback(), **{flag: False})


def test_two_progress_bars():
    with pytest.raises(MisconfigurationException, match="2 progress bars"):
        pl.Trainer(callbacks=[TQDMProgressBar(), RichProgressBar()])


def test_profilers():
    assert type(quiet().profiler) is PassThroughProfiler
    mine = PassThroughProfiler()
    assert quiet(profiler=mine).profiler is mine
    with pytest.raises(MisconfigurationException, match="profiler='simpel'.*simple"):
        quiet(profiler="simpel")
    with pytest.raises(MisconfigurationException, match="profiler=3"):
        quiet(profiler=3)


def test_default_root_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert quiet().default_root_dir == str(tmp_path.cwd())
    assert quiet(default_root_dir="~/runs").default_root_dir == str(tmp_path / "runs")
    assert quiet(default_root_dir=tmp_path).default_root_dir == str(tmp_path)
    assert quiet(default_root_dir="memory://runs").default_root_dir == "memory://runs"


def test_hyperparameters_are_not_sent_where_nobody_wants_it(tmp_path):
    class Has(WithLoaders):
        def __init__(self, width=3):
            super().__init__()
            self.save_hyperparameters()

    for wanted in (True, False):
        logger = CSVLogger(tmp_path / str(wanted))
        quiet(logger=logger, enable_autolog_hparams=wanted).fit(Has())
        written = (tmp_path / str(wanted)).rglob("hparams.yaml")
        assert any("width" in path.read_text() for path in written) is wanted


def test_arguments_of_the_vendor_do_nothing(capsys):
    trainer = quiet(model_registry="team/model", suggest_integrations=True)
    trainer.fit(WithLoaders())
    assert "lit" not in capsys.readouterr().out.lower()


# --- numbers of optimization --------------------------------------------------------------------


def test_accumulate_grad_batches():
    module, trainer = Watched(), quiet(accumulate_grad_batches=3)
    trainer.fit(module, numbers(14))
    assert (module.count("train"), trainer.global_step) == (7, 3)
    for wrong in (0, -1):
        with pytest.raises(MisconfigurationException, match=f"accumulate_grad_batches={wrong}"):
            quiet(accumulate_grad_batches=wrong)
    with pytest.raises(TypeError, match="accumulate_grad_batches=1.5"):
        quiet(accumulate_grad_batches=1.5)


def test_accumulation_by_epoch_as_in_1_x():
    trainer = quiet(accumulate_grad_batches={1: 4}, max_epochs=2)
    assert kinds(trainer) == [GradientAccumulationScheduler]
    trainer.fit(Watched(), numbers(8))
    assert trainer.global_step == 4 + 1


@pytest.mark.parametrize(("algorithm", "bound"), [("norm", 0.5), (None, 0.5), ("value", 0.1)])
def test_clipping(algorithm, bound):
    class Clipped(Watched):
        def training_step(self, batch, batch_idx):
            return self(batch).sum() * 100

        def on_train_batch_end(self, outputs, batch, batch_idx):
            gradients = torch.cat([p.grad.flatten() for p in self.parameters()])
            size = gradients.abs().max() if algorithm == "value" else gradients.norm()
            self.note("size", float(size))

    module = Clipped()
    quiet(gradient_clip_val=bound, gradient_clip_algorithm=algorithm).fit(module, numbers(4))
    assert [e[1] for e in module.seen] == pytest.approx([bound, bound], rel=1e-4)


def test_bad_clipping():
    with pytest.raises(TypeError, match="gradient_clip_val='1'"):
        quiet(gradient_clip_val="1")
    with pytest.raises(MisconfigurationException, match="gradient_clip_algorithm='norms'.*'norm'"):
        quiet(gradient_clip_algorithm="norms")
    for off in (0, None, 0.0):
        trainer = quiet(gradient_clip_val=off)
        trainer.fit(Watched(), numbers(2))
        assert trainer.global_step == 1


def test_sync_batchnorm_changes_nothing_in_one_process():
    class Normed(Watched):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(2)

        def on_train_start(self):
            self.note("norm", type(self.norm).__name__)

    module = Normed()
    quiet(sync_batchnorm=True).fit(module, numbers(4))
    assert module.seen[0] == ("norm", "BatchNorm1d")


def test_the_sampler_flag_is_kept_and_changes_nothing_in_one_process():
    class Order(Watched):
        def training_step(self, batch, batch_idx):
            self.note("rows", *batch[:, 0].tolist())
            return super().training_step(batch, batch_idx)

    for flag in (True, False):
        module, trainer = Order(), quiet(use_distributed_sampler=flag)
        trainer.fit(module, numbers(4))
        assert trainer.use_distributed_sampler is flag
        assert [e[1:] for e in module.seen if e[0] == "rows"] == [(0, 1), (2, 3)]


# --- the environment ----------------------------------------------------------------------------


def test_defaults_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "3")
    monkeypatch.setenv("PL_TRAINER_LIMIT_TRAIN_BATCHES", "0.5")
    monkeypatch.setenv("PL_TRAINER_ACCELERATOR", "cpu")
    monkeypatch.setenv("PL_TRAINER_VAL_CHECK_INTERVAL", "{'minutes': 2}")
    monkeypatch.setenv("PL_TRAINER_LOGGER", "False")
    trainer = pl.Trainer()
    assert (trainer.max_epochs, trainer.limit_train_batches) == (3, 0.5)
    assert trainer.val_check_interval == {"minutes": 2}
    assert trainer.loggers == []
    assert pl.Trainer(max_epochs=7).max_epochs == 7  # what is passed wins
    assert pl.Trainer.match_env_arguments().max_epochs == 3


def test_a_variable_that_names_no_argument_is_an_error(monkeypatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCH", "3")
    with pytest.raises(TypeError, match="PL_TRAINER_MAX_EPOCH .*PL_TRAINER_MAX_EPOCHS"):
        pl.Trainer()


# --- command line, and members of 1.x ------------------------------------------------------------


def test_options_of_a_program_make_a_trainer():
    parser = pl.Trainer.add_argparse_args(ArgumentParser())
    args = parser.parse_args(
        ["--max_epochs", "3", "--limit_val_batches", "0.5", "--logger", "false"]
    )
    trainer = pl.Trainer.from_argparse_args(args, max_steps=9)
    assert (trainer.max_epochs, trainer.limit_val_batches, trainer.max_steps) == (3, 0.5, 9)
    assert trainer.loggers == []
    assert pl.Trainer.parse_argparser(args).max_epochs == 3
    assert pl.Trainer.default_attributes()["max_steps"] == -1


@pytest.mark.parametrize(
    "name",
    [
        "tune",
        "reset_train_dataloader",
        "reset_val_dataloader",
        "reset_test_dataloader",
        "reset_predict_dataloader",
        "reset_train_val_dataloaders",
        "request_dataloader",
        "prepare_dataloader",
        "call_hook",
        "run_stage",
        "init_optimizers",
        "convert_to_lightning_optimizers",
    ],
)
def test_methods_that_are_gone_say_what_to_write(name):
    with pytest.raises(AttributeError, match=rf"`Trainer.{name}` is of 1.x: \w+"):
        getattr(quiet(), name)


def test_attributes_that_are_gone_say_what_to_write():
    trainer = quiet()
    for name, cure in (("gpus", "num_devices"), ("lr_schedulers", "lr_scheduler_configs")):
        assert not hasattr(trainer, name)
        with pytest.raises(AttributeError, match=cure):
            getattr(trainer, name)
    with pytest.raises(AttributeError, match="curent_epoch.*current_epoch"):
        trainer.curent_epoch  # noqa: B018
