"""Members of `Trainer` in 1.x that are gone, with what to write."""

from pytorch_lightning.utilities.suggest import did_you_mean

_RELOADED = "loaders are asked for in each run, and as `reload_dataloaders_every_n_epochs` says"
_DEVICES = "read `trainer.num_devices`, `trainer.device_ids` or `trainer.strategy.root_device`"
_TUNED = "the finders of rates and batch sizes are not part of this release; try a few values"
_PATHS = "read `trainer.ckpt_path` in a hook of the run"

GONE = {
    "tune": _TUNED,
    "tuner": _TUNED,
    "tuning": _TUNED,
    "reset_train_dataloader": _RELOADED,
    "reset_val_dataloader": _RELOADED,
    "reset_test_dataloader": _RELOADED,
    "reset_predict_dataloader": _RELOADED,
    "reset_train_val_dataloaders": _RELOADED,
    "request_dataloader": "call the loader method of the module or datamodule",
    "prepare_dataloader": "loaders are used as they are given",
    "call_hook": "call the hook of the module or callback",
    "run_stage": "call `fit`, `validate`, `test` or `predict`",
    "init_optimizers": "call `module.configure_optimizers()`",
    "convert_to_lightning_optimizers": "call `module.optimizers()`",
    "lightning_optimizers": "call `module.optimizers()`",
    "lr_schedulers": "read `trainer.lr_scheduler_configs`",
    "optimizer_frequencies": "they are in what `configure_optimizers` returned",
    "amp_backend": "read `trainer.precision`",
    "use_amp": "read `trainer.precision`",
    "training_type_plugin": "read `trainer.strategy`",
    "data_parallel": "read `trainer.strategy`",
    "data_parallel_device_ids": _DEVICES,
    "devices": _DEVICES,
    "gpus": _DEVICES,
    "num_gpus": _DEVICES,
    "root_gpu": _DEVICES,
    "ipus": _DEVICES,
    "tpu_cores": _DEVICES,
    "num_processes": "read `trainer.world_size`",
    "resume_from_checkpoint": _PATHS,
    "tested_ckpt_path": _PATHS,
    "validated_ckpt_path": _PATHS,
    "predicted_ckpt_path": _PATHS,
    "weights_save_path": "read `trainer.checkpoint_callback.dirpath`",
    "should_rank_save_checkpoint": "read `trainer.is_global_zero`",
    "verbose_evaluate": "pass `verbose` to `validate` or `test`",
}


def why_missing(name: str, known: list[str]) -> str:
    """A sentence for `AttributeError`."""
    if name in GONE:
        return f"`Trainer.{name}` is of 1.x: {GONE[name]}."
    hint = "" if name.startswith("_") else did_you_mean(name, known)
    return f"`Trainer` has no attribute {name!r}.{hint}"
