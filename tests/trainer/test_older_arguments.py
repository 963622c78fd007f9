"""Arguments of earlier releases: brought to today's, or refused with what to write."""

import argparse
import warnings

import pytest
import torch
from tests.mistakes.case import QUIET, Module, plain, rows, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def older(**options):
    """A trainer made with older arguments; nothing is chosen that they choose."""
    kept = {k: v for k, v in QUIET.items() if k != "accelerator"}
    with pytest.warns(DeprecationWarning, match="is of 1.x; "):
        return pl.Trainer(**{**kept, **options})


def test_num_processes_is_devices_of_the_cpu():
    made = older(num_processes=1)
    assert (made.num_devices, type(made.accelerator).__name__) == (1, "CPUAccelerator")
    with pytest.warns(DeprecationWarning):
        made = trainer(num_processes=2, accelerator="auto")
    assert (made.num_devices, made.world_size) == (2, 2)


def test_gpus_is_accelerator_and_devices():
    with (
        pytest.warns(DeprecationWarning, match="accelerator='gpu'") as caught,
        pytest.raises(MisconfigurationException, match=r"accelerator='gpu'"),
    ):
        trainer(gpus=2, accelerator="auto")
    assert "`devices=2`" in " ".join(str(w.message) for w in caught)


@pytest.mark.parametrize("none", [None, 0, "0", []])
def test_no_gpus_means_nothing(none):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainer(gpus=none).num_devices == 1


def test_tpu_cores_is_accelerator_and_devices():
    with (
        pytest.warns(DeprecationWarning, match="accelerator='tpu'"),
        pytest.raises(MisconfigurationException, match="accelerator='tpu'"),
    ):
        trainer(tpu_cores=8, accelerator="auto")


def test_replace_sampler_ddp_is_use_distributed_sampler():
    assert older(replace_sampler_ddp=False).use_distributed_sampler is False


def test_resume_from_checkpoint_is_ckpt_path_of_fit(tmp_path):
    path = tmp_path / "before.ckpt"
    before = trainer()
    before.fit(Module(), val_dataloaders=plain())
    before.save_checkpoint(path)
    made = older(resume_from_checkpoint=str(path), max_epochs=3)
    made.fit(Module(), val_dataloaders=plain())
    assert (made.current_epoch, made.global_step) == (3, 12)


def test_track_grad_norm_logs_norms_of_each_parameter_and_in_total():
    made = older(track_grad_norm=2)
    made.fit(Module(), val_dataloaders=plain())
    names = {"grad_2.0_norm/layer.weight", "grad_2.0_norm/layer.bias", "grad_2.0_norm_total"}
    logged = made.callback_metrics
    for name in names:
        assert {name, f"{name}_step", f"{name}_epoch"} <= set(logged)
    parts = [logged[f"grad_2.0_norm/layer.{p}_step"] for p in ("weight", "bias")]
    total = torch.stack(parts).norm()
    assert torch.allclose(logged["grad_2.0_norm_total_step"], total, atol=1e-3)


def test_multiple_trainloader_mode_is_the_mode_of_the_collection():
    seen = []

    class Two(Module):
        def training_step(self, batch, batch_idx):
            seen.append(batch_idx)
            return self.layer(batch["a"]).mean()

    loaders = {"a": rows(8), "b": rows(4)}
    older(multiple_trainloader_mode="min_size").fit(Two(), loaders, plain())
    assert seen == [0, 1]
    seen.clear()
    trainer().fit(Two(), loaders, plain())
    assert seen == [0, 1, 2, 3]


def test_a_dictionary_of_accumulation_becomes_the_callback():
    made = trainer(accumulate_grad_batches={0: 2, 1: 4}, max_epochs=2)
    assert any(isinstance(c, GradientAccumulationScheduler) for c in made.callbacks)
    made.fit(Module(), val_dataloaders=plain())
    assert made.global_step == 2 + 1


GONE = {
    "amp_backend": ("native", "precision='16-mixed'"),
    "amp_level": ("O2", "precision='16-mixed'"),
    "auto_lr_find": (True, "not part of this release"),
    "auto_scale_batch_size": ("power", "not part of this release"),
    "auto_select_gpus": (True, "devices=[...]"),
    "checkpoint_callback": (True, "enable_checkpointing"),
    "flush_logs_every_n_steps": (10, "CSVLogger"),
    "ipus": (4, "accelerator"),
    "log_gpu_memory": ("all", "torch.cuda.memory_allocated"),
    "move_metrics_to_cpu": (True, "leave it out"),
    "prepare_data_per_node": (True, "datamodule"),
    "process_position": (1, "TQDMProgressBar"),
    "progress_bar_refresh_rate": (20, "TQDMProgressBar(refresh_rate"),
    "stochastic_weight_avg": (True, "torch.optim.swa_utils"),
    "terminate_on_nan": (True, "check_finite=True"),
    "weights_save_path": ("here", "ModelCheckpoint(dirpath"),
    "weights_summary": ("full", "ModelSummary(max_depth"),
}


@pytest.mark.parametrize("name", GONE)
def test_an_argument_that_is_gone_says_what_to_write(name):
    value, cure = GONE[name]
    with pytest.raises(MisconfigurationException) as caught:
        trainer(**{name: value})
    message = str(caught.value)
    assert f"{name}={value!r}" in message
    assert cure in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(**{name: None})


def test_none_means_the_default_everywhere():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = pl.Trainer(
            **{**QUIET, "accelerator": None, "devices": None, "strategy": None, "precision": None},
            limit_train_batches=None,
            val_check_interval=None,
            log_every_n_steps=None,
            num_sanity_val_steps=None,
            profiler=None,
            plugins=None,
            deterministic=None,
        )
    assert (made.num_devices, made.precision, made.log_every_n_steps) == (1, "32-true", 50)


@pytest.mark.parametrize("precision", ["32", "64", 32, 64, "bf16"])
def test_older_spellings_of_precision_are_understood(precision):
    today = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed"}
    assert trainer(precision=precision).precision == today[str(precision)]


def test_arguments_from_a_command_line():
    parser = pl.Trainer.add_argparse_args(argparse.ArgumentParser())
    given = parser.parse_args(
        ["--max_epochs", "3", "--limit_train_batches", "0.5", "--enable_progress_bar", "false"]
    )
    made = pl.Trainer.from_argparse_args(given, logger=False, enable_checkpointing=False)
    assert (made.max_epochs, made.limit_train_batches) == (3, 0.5)
    assert made.progress_bar_callback is None
    defaults = pl.Trainer.default_attributes()
    assert defaults["max_steps"] == -1


def test_arguments_from_the_environment(monkeypatch):
    monkeypatch.setenv("PL_TRAINER_MAX_EPOCHS", "7")
    assert trainer(max_epochs=2).max_epochs == 2
    options = {k: v for k, v in QUIET.items() if k != "max_epochs"}
    assert pl.Trainer(**options).max_epochs == 7
    assert pl.Trainer.match_env_arguments().max_epochs == 7
