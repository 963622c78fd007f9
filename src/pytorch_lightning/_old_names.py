"""Old names of classes and functions: where each is now."""

_PRECISIONS = {
    "BitsandbytesPrecisionPlugin": "plugins:BitsandbytesPrecision",
    "DeepSpeedPrecisionPlugin": "plugins:DeepSpeedPrecision",
    "DoublePrecisionPlugin": "plugins:DoublePrecision",
    "FSDPMixedPrecisionPlugin": "plugins:FSDPPrecision",
    "FSDPPrecisionPlugin": "plugins:FSDPPrecision",
    "FullyShardedNativeMixedPrecisionPlugin": "plugins:FSDPPrecision",
    "FullyShardedNativeNativeMixedPrecisionPlugin": "plugins:FSDPPrecision",
    "HalfPrecisionPlugin": "plugins:HalfPrecision",
    "MixedPrecisionPlugin": "plugins:MixedPrecision",
    "NativeMixedPrecisionPlugin": "plugins:MixedPrecision",
    "PrecisionPlugin": "plugins:Precision",
    "TPUBf16PrecisionPlugin": "plugins:XLAPrecision",
    "TPUPrecisionPlugin": "plugins:XLAPrecision",
    "TransformerEnginePrecisionPlugin": "plugins:TransformerEnginePrecision",
    "XLABf16PrecisionPlugin": "plugins:XLAPrecision",
    "XLAPrecisionPlugin": "plugins:XLAPrecision",
}
_STRATEGIES = {
    "DDPPlugin": "strategies:DDPStrategy",
    "DDPSpawnPlugin": "strategies.ddp_spawn:DDPSpawnStrategy",
    "DDPFullyShardedPlugin": "strategies:FSDPStrategy",
    "DeepSpeedPlugin": "strategies:DeepSpeedStrategy",
    "ParallelPlugin": "strategies:ParallelStrategy",
    "SingleDevicePlugin": "strategies:SingleDeviceStrategy",
    "SingleTPUPlugin": "strategies:SingleDeviceXLAStrategy",
    "TPUSpawnPlugin": "strategies:XLAStrategy",
    "TrainingTypePlugin": "strategies:Strategy",
}
_RANK_ZERO = {
    name: f"utilities.rank_zero:{name}"
    for name in ("WarningCache", "rank_zero_deprecation", "rank_zero_warn")
}

# module -> old name -> "module:name"; all without "pytorch_lightning."
OLD_NAMES: dict[str, dict[str, str]] = {
    "": {
        "Fabric": "fabric:Fabric",
    },
    "accelerators": {
        "GPUAccelerator": "accelerators:CUDAAccelerator",
        "TPUAccelerator": "accelerators:XLAAccelerator",
    },
    "callbacks": {"ProgressBarBase": "callbacks:ProgressBar"},
    "callbacks.progress": {"ProgressBarBase": "callbacks.progress:ProgressBar"},
    "callbacks.progress.progress_bar": {"ProgressBarBase": "callbacks.progress:ProgressBar"},
    "core.hooks": {
        "MisconfigurationException": "utilities.exceptions:MisconfigurationException",
        "move_data_to_device": "utilities.tree:move_data_to_device",
    },
    "core.optimizer": {
        "LRSchedulerConfig": "utilities.types:LRSchedulerConfig",
        "MisconfigurationException": "utilities.exceptions:MisconfigurationException",
        "is_overridden": "utilities.model_helpers:is_overridden",
        "is_param_in_hook_signature": "utilities.signatures:is_param_in_hook_signature",
        "rank_zero_warn": "utilities.rank_zero:rank_zero_warn",
    },
    "data.combined": {"sized_len": "utilities.data:sized_len"},
    "loggers": {"LightningLoggerBase": "loggers:Logger"},
    "loggers.logger": {
        "FabricLogger": "loggers.logger:Logger",
        "LightningLoggerBase": "loggers.logger:Logger",
        "ModelCheckpoint": "callbacks:ModelCheckpoint",
    },
    "plugins": {**_PRECISIONS, **_STRATEGIES, "NativeSyncBatchNorm": "plugins:TorchSyncBatchNorm"},
    "plugins.precision": _PRECISIONS,
    "precision.mixed": {
        "MixedPrecisionPlugin": "precision:MixedPrecision",
        "NativeMixedPrecisionPlugin": "precision:MixedPrecision",
    },
    "precision.precision": {"PrecisionPlugin": "precision:Precision"},
    "profilers": {"AbstractProfiler": "profilers:Profiler", "BaseProfiler": "profilers:Profiler"},
    "profilers.profiler": {
        "AbstractProfiler": "profilers:Profiler",
        "BaseProfiler": "profilers:Profiler",
    },
    "strategies": {
        **_STRATEGIES,
        "DDPFullyShardedNativeStrategy": "strategies:FSDPStrategy",
        "DDPSpawnStrategy": "strategies.ddp_spawn:DDPSpawnStrategy",
        "SingleTPUStrategy": "strategies:SingleDeviceXLAStrategy",
        "TPUSpawnStrategy": "strategies:XLAStrategy",
    },
    "strategies.strategy": {"TrainingTypePlugin": "strategies:Strategy"},
    "utilities": {
        "AllGatherGrad": "distributed.collectives:AllGatherGrad",
        "CombinedLoader": "data.combined:CombinedLoader",
        "flatten_dict": "utilities.parsing:flatten_dict",
    },
    "utilities.model_summary.model_summary": {
        "DeepSpeedSummary": "utilities.model_summary:DeepSpeedSummary"
    },
    "utilities.parsing": {"save_hyperparameters": "core.hparams:save_hyperparameters"},
    "utilities.paths": {"load": "checkpoint.reader:read_checkpoint"},
    "utilities.rank_zero": {  # once `utilities.distributed`
        name: f"distributed.collectives:{name}"
        for name in ("AllGatherGrad", "distributed_available", "gather_all_tensors", "sync_ddp")
    },
    "utilities.warnings": _RANK_ZERO,
}
