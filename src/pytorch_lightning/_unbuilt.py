"""Documented names that cannot be had here, and what to write instead."""

_MIXED = 'use `Trainer(precision="bf16-mixed")` or "32-true"'
_SEEN = "write a `Callback` with the hooks that you need"
_CONFIG = "write the script with `argparse` and `Trainer(**vars(arguments))`"
_TUNE = "try a few values in a loop around `Trainer.fit`"
_LOGGER = "use `CSVLogger` or `TensorBoardLogger`, or derive from `Logger`"
_PROFILE = "derive from `Profiler`, or wrap the run in `torch.profiler.profile`"
_SERVE = "export with `to_onnx` or `torch.export` and serve that"
_LOOP = "override the hooks of the module, or write a loop with `Fabric`"
_SWA = "update a `torch.optim.swa_utils.AveragedModel` in a `Callback`"
_FREEZE = "set `requires_grad` in `on_train_epoch_start` of a `Callback`"
_PRUNE = "call `torch.nn.utils.prune` in a `Callback`"
_QUANTIZE = "use the `torchao` package on the module"
_ENUM = "compare with the plain string"
_XLA_STATS = "log `trainer.accelerator.get_device_stats(device)` in a `Callback`"
_GONE_DEVICE = "this kind of device is supported no more; use another accelerator"
_DDP = 'use `strategy="ddp"`'
_FSDP = 'use `strategy="fsdp"`'
_TORCH_FILES = "use `TorchCheckpointIO`"

_PRECISIONS = {
    "ApexMixedPrecisionPlugin": 'apex is gone; use `Trainer(precision="16-mixed")`',
    "HPUPrecisionPlugin": _GONE_DEVICE,
    "IPUPrecisionPlugin": _GONE_DEVICE,
    "ShardedNativeMixedPrecisionPlugin": _MIXED,
}
_CHECKPOINT_IOS = {
    "HPUCheckpointIO": _TORCH_FILES,
}
_GONE_STRATEGIES = {
    "BaguaStrategy": _DDP,
    "DDP2Strategy": _DDP,
    "DDPFullyShardedStrategy": _FSDP,
    "DDPShardedStrategy": _FSDP,
    "DDPSpawnShardedStrategy": _FSDP,
    "DataParallelStrategy": _DDP,
    "HPUParallelStrategy": _GONE_DEVICE,
    "HivemindStrategy": _DDP,
    "HorovodStrategy": _DDP,
    "IPUStrategy": _GONE_DEVICE,
    "SingleHPUStrategy": _GONE_DEVICE,
}
_CLI = {
    name: _CONFIG
    for name in (
        "LRSchedulerCallable",
        "LightningArgumentParser",
        "LightningCLI",
        "OptimizerCallable",
        "SaveConfigCallback",
        "instantiate_class",
        "instantiate_module",
    )
}

# module without "pytorch_lightning." -> name -> what to do instead
UNBUILT_NAMES: dict[str, dict[str, str]] = {
    "accelerators": {
        "HPUAccelerator": _GONE_DEVICE,
        "IPUAccelerator": _GONE_DEVICE,
    },
    "callbacks": {
        "BackboneFinetuning": _FREEZE,
        "BaseFinetuning": _FREEZE,
        "BatchSizeFinder": _TUNE,
        "DeviceStatsMonitor": "log `torch.cuda.memory_stats()` in a `Callback`",
        "EMAWeightAveraging": _SWA,
        "GPUStatsMonitor": "log `torch.cuda.memory_stats()` in a `Callback`",
        "LearningRateFinder": _TUNE,
        "ModelPruning": _PRUNE,
        "QuantizationAwareTraining": _QUANTIZE,
        "SpikeDetection": "compare the loss with a running mean in `on_train_batch_end`",
        "StochasticWeightAveraging": _SWA,
        "ThroughputMonitor": "log batches per second in `on_train_batch_end`",
        "WeightAveraging": _SWA,
        "XLAStatsMonitor": _XLA_STATS,
    },
    "cli": _CLI,
    "data.combined": {
        "CombinedDataset": "pass a dictionary or list of loaders, or a `CombinedLoader`",
        "CycleIterator": 'use `CombinedLoader(loaders, mode="max_size_cycle")`',
        "TensorRunningAccum": "log with `self.log(..., on_epoch=True)`",
    },
    "loggers": {
        "CometLogger": _LOGGER,
        "LitLogger": _LOGGER,
        "LoggerCollection": "pass a list: `Trainer(logger=[first, second])`",
        "MLFlowLogger": _LOGGER,
        "NeptuneLogger": "its service has closed; " + _LOGGER,
        "WandbLogger": _LOGGER,
    },
    "loops": {
        name: _LOOP
        for name in (
            "DataLoaderLoop",
            "EvaluationEpochLoop",
            "EvaluationLoop",
            "FitLoop",
            "Loop",
            "ManualOptimization",
            "OptimizerLoop",
            "PredictionEpochLoop",
            "PredictionLoop",
            "TrainingBatchLoop",
            "TrainingEpochLoop",
        )
    },
    "plugins": {
        **_PRECISIONS,
        **_CHECKPOINT_IOS,
        "DDP2Plugin": _DDP,
        "DDPShardedPlugin": _FSDP,
        "DDPSpawnShardedPlugin": _FSDP,
        "DataParallelPlugin": _DDP,
        "HorovodPlugin": _DDP,
        "IPUPlugin": _GONE_DEVICE,
    },
    "plugins.environments": {"BaguaEnvironment": _DDP},
    "plugins.io": _CHECKPOINT_IOS,
    "plugins.precision": _PRECISIONS,
    "profilers": {
        name: _PROFILE
        for name in ("AdvancedProfiler", "PyTorchProfiler", "SimpleProfiler", "XLAProfiler")
    },
    "strategies": {
        **_GONE_STRATEGIES,
    },
    "tuner": {"Tuner": _TUNE},
    "utilities": {
        "AMPType": _ENUM,
        "DeviceType": _ENUM,
        "DistributedType": _ENUM,
    },
    "utilities.enums": {
        name: _ENUM
        for name in (
            "AMPType",
            "AutoRestartBatchKeys",
            "DeviceType",
            "DistributedType",
            "PrecisionType",
        )
    },
    "utilities.exceptions": {
        "DeadlockDetectedException": "catch `RuntimeError`",
        "ExitGracefullyException": "catch `SIGTERMException`",
    },
    "utilities.memory": {"get_gpu_memory_map": "use `torch.cuda.memory_stats()`"},
    "utilities.paths": {
        "atomic_save": "use `TorchCheckpointIO().save_checkpoint(checkpoint, path)`"
    },
    "utilities.seed": {
        "pl_worker_init_function": "call `seed_everything(seed, workers=True)`",
    },
    "checkpoint.migrate": {"pl_legacy_patch": "load the file; old ones are read as they are"},
}

UNBUILT_MODULES: dict[str, str] = {
    "callbacks.batch_size_finder": _TUNE,
    "callbacks.device_stats_monitor": "log `torch.cuda.memory_stats()` in a `Callback`",
    "callbacks.finetuning": _FREEZE,
    "callbacks.gpu_stats_monitor": "log `torch.cuda.memory_stats()` in a `Callback`",
    "callbacks.lr_finder": _TUNE,
    "callbacks.pruning": _PRUNE,
    "callbacks.quantization": _QUANTIZE,
    "callbacks.spike": "compare the loss with a running mean in `on_train_batch_end`",
    "callbacks.stochastic_weight_avg": _SWA,
    "callbacks.throughput_monitor": "log batches per second in `on_train_batch_end`",
    "callbacks.weight_averaging": _SWA,
    "callbacks.xla_stats_monitor": _XLA_STATS,
    "cli": _CONFIG,
    "lite": _LOOP,
    "loggers.comet": _LOGGER,
    "loggers.litlogger": _LOGGER,
    "loggers.mlflow": _LOGGER,
    "loggers.neptune": "its service has closed; " + _LOGGER,
    "loggers.wandb": _LOGGER,
    "metrics": "use the `torchmetrics` package",
    "profilers.advanced": _PROFILE,
    "profilers.pytorch": _PROFILE,
    "profilers.simple": _PROFILE,
    "profilers.xla": _PROFILE,
    "serve": _SERVE,
    "trainer.connectors": "use the public members of `Trainer`",
    "tuner.auto_gpu_select": "pass `devices=find_usable_cuda_devices(n)`",
    "tuner.batch_size_scaling": _TUNE,
    "tuner.lr_finder": _TUNE,
    "tuner.tuning": _TUNE,
    "utilities.auto_restart": "runs resume at any batch: `fit(ckpt_path=...)`",
    "utilities.device_parser": "pass `accelerator` and `devices` to the `Trainer`",
    "utilities.fetching": "pass any iterable as a loader",
    "utilities.meta": "use `torch.device('meta')` as a context manager",
    "utilities.xla_device": "use `XLAAccelerator.is_available()`",
}


def sentence(name: str, instead: str) -> str:
    """Say that a name cannot be had, and what to do."""
    return f"`{name}` is not part of this release: {instead}."
