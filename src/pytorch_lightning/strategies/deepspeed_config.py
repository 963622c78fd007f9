"""What DeepSpeed is told: arguments and files to its configuration."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.environ import read_text
from pytorch_lightning.utilities.exceptions import MisconfigurationException

_NVME = {
    "stage": 3,
    "offload_optimizer": True,
    "offload_parameters": True,
    "remote_device": "nvme",
    "offload_params_device": "nvme",
    "offload_optimizer_device": "nvme",
}
NAMES: dict[str, dict[str, Any]] = {
    "deepspeed": {},
    "deepspeed_stage_1": {"stage": 1},
    "deepspeed_stage_2": {"stage": 2},
    "deepspeed_stage_2_offload": {"stage": 2, "offload_optimizer": True},
    "deepspeed_stage_3": {"stage": 3},
    "deepspeed_stage_3_offload": {
        "stage": 3,
        "offload_optimizer": True,
        "offload_parameters": True,
    },
    "deepspeed_stage_3_offload_nvme": _NVME,
}
ENV_VAR = "PL_DEEPSPEED_CONFIG_PATH"
_OFFLOAD_PARAM = {
    "nvme_path": "nvme_path",
    "buffer_count": "params_buffer_count",
    "buffer_size": "params_buffer_size",
    "max_in_cpu": "max_in_cpu",
    "pin_memory": "pin_memory",
}
_OFFLOAD_OPTIMIZER = {
    "nvme_path": "nvme_path",
    "buffer_count": "optimizer_buffer_count",
    "pin_memory": "pin_memory",
}
_ZERO = (
    "stage",
    "contiguous_gradients",
    "overlap_comm",
    "allgather_partitions",
    "reduce_scatter",
    "allgather_bucket_size",
    "reduce_bucket_size",
    "sub_group_size",
)
_ACTIVATIONS = (
    "partition_activations",
    "cpu_checkpointing",
    "contiguous_memory_optimization",
    "synchronize_checkpoint_boundary",
)
_AIO = ("block_size", "queue_depth", "single_submit", "overlap_events", "thread_count")


def given_config(config: str | Path | dict[str, Any] | None) -> dict[str, Any] | None:
    """A configuration of the user: a dictionary, a JSON file, or the file of a variable.

    Raises:
        MisconfigurationException: If the file is not there, or sets what the trainer sets.
    """
    source = f"`{ENV_VAR}`" if config is None else "`config`"
    chosen = read_text(ENV_VAR) if config is None else config
    if chosen is None:
        return None
    if isinstance(chosen, str | Path):
        if not os.path.isfile(chosen):
            raise MisconfigurationException(
                f"{source}={str(chosen)!r}: there is no such file with a configuration of "
                "DeepSpeed. Pass its path, or a dictionary."
            )
        chosen = json.loads(Path(chosen).read_text(encoding="utf-8"))
    assert isinstance(chosen, dict)
    for name, argument in (
        ("gradient_accumulation_steps", "accumulate_grad_batches"),
        ("gradient_clipping", "gradient_clip_val"),
    ):
        if name in chosen and chosen[name] not in (0, 0.0, 1, "auto"):
            raise MisconfigurationException(
                f"{source} has `{name}={chosen[name]}`: pass `Trainer({argument}=...)` instead."
            )
    return json.loads(json.dumps(chosen))  # type: ignore[no-any-return]  # a dictionary as before


def config_of_arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The configuration that the arguments of `DeepSpeedStrategy` describe."""
    config: dict[str, Any] = {
        "activation_checkpointing": {name: given[name] for name in _ACTIVATIONS},
        "aio": {name: given[name] for name in _AIO},
    }
    if not given["zero_optimization"]:
        return config
    zero = {name: given[name] for name in _ZERO}
    if given["offload_parameters"]:
        zero["offload_param"] = {
            "device": given["offload_params_device"],
            **{key: given[name] for key, name in _OFFLOAD_PARAM.items()},
        }
    if given["offload_optimizer"]:
        zero["offload_optimizer"] = {
            "device": given["offload_optimizer_device"],
            **{key: given[name] for key, name in _OFFLOAD_OPTIMIZER.items()},
        }
        config["zero_force_ds_cpu_optimizer"] = False  # any optimizer of torch will do
    config["zero_allow_untested_optimizer"] = given["zero_allow_untested_optimizer"]
    config["zero_optimization"] = zero
    return config


def add_precision(config: dict[str, Any], precision: str, given: dict[str, Any]) -> None:
    """Say in what numbers to compute, unless the configuration does."""
    if precision in ("16-mixed", "16-true") and "fp16" not in config:
        names = ("loss_scale", "initial_scale_power", "loss_scale_window", "hysteresis")
        config["fp16"] = {
            "enabled": True,
            **{name: given[name] for name in names},
            "min_loss_scale": given["min_loss_scale"],
        }
    elif precision in ("bf16-mixed", "bf16-true") and "bf16" not in config:
        config["bf16"] = {"enabled": True}


def stage_of(config: dict[str, Any]) -> int:
    """How far ZeRO goes; 0 without it."""
    return int(config.get("zero_optimization", {}).get("stage", 0))
