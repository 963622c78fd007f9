"""Arguments of FSDP in the words of torch's first and second one, as options of `fully_shard`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from pytorch_lightning.precision import Precision
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.suggest import did_you_mean

STRATEGIES = ("FULL_SHARD", "SHARD_GRAD_OP", "HYBRID_SHARD", "_HYBRID_SHARD_ZERO2", "NO_SHARD")
_ALWAYS_SO = {  # arguments that `fully_shard` has no use for, and what it does
    "use_orig_params": True,
    "sync_module_states": True,
    "limit_all_gathers": True,
}
_BY_ITSELF = ("forward_prefetch", "backward_prefetch", "device_id")
_MAPPED = ("ignored_states", "ignored_parameters", "ignored_params", "ignored_modules")
_KNOWN = (*_ALWAYS_SO, *_BY_ITSELF, *_MAPPED, "param_init_fn", "shard_placement_fn")


class Sharding(NamedTuple):
    """How parameters are spread.

    Attributes:
        reshard: Whether gathered parameters are let go between forward and backward.
        hybrid: Whether each group of processes holds all parameters.
    """

    reshard: bool
    hybrid: bool


def sharding_of(given: Any) -> Sharding:
    """What `sharding_strategy` means; the enum of torch's first FSDP is fine too."""
    name = str(getattr(given, "name", given)).upper()
    if name == "NO_SHARD":
        raise MisconfigurationException(
            "`sharding_strategy='NO_SHARD'` keeps all parameters on each device, which is "
            "strategy='ddp'. Pass that."
        )
    if name not in STRATEGIES:
        raise MisconfigurationException(
            f"`sharding_strategy={given!r}` is unknown. Pass one of "
            f"{', '.join(map(repr, STRATEGIES[:3]))}.{did_you_mean(name, STRATEGIES)}"
        )
    return Sharding(
        reshard=name in ("FULL_SHARD", "HYBRID_SHARD"), hybrid=name.startswith(("HYBRID", "_HYB"))
    )


def check_options(options: dict[str, Any]) -> None:
    """Refuse options that nobody knows; say which ones have no effect."""
    for name, value in options.items():
        if name not in _KNOWN:
            raise TypeError(
                f"`FSDPStrategy({name}=...)`: there is no such argument."
                f"{did_you_mean(name, _KNOWN)}"
            )
        if name in _BY_ITSELF or (name in _ALWAYS_SO and value is not _ALWAYS_SO[name]):
            settled = f"always as {_ALWAYS_SO[name]}" if name in _ALWAYS_SO else "by itself"
            warnings_given.warn(
                f"`FSDPStrategy({name}={value!r})` has no effect: torch's `fully_shard` decides "
                f"this {settled}."
            )


def ignored_parameters(options: dict[str, Any]) -> set[torch.nn.Parameter]:
    """The parameters that stay whole on each device."""
    found: set[torch.nn.Parameter] = set()
    for name in _MAPPED:
        for item in options.get(name) or ():
            found.update(item.parameters() if isinstance(item, torch.nn.Module) else (item,))
    return found


def mixed_types(given: Any, precision: Precision) -> Any:
    """The policy of `fully_shard`: in which types parameters travel and gradients are reduced."""
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if isinstance(given, MixedPrecisionPolicy):
        return given
    if given is not None:
        if getattr(given, "buffer_dtype", None) not in (None, torch.float32):
            warnings_given.warn(
                "`mixed_precision`: `buffer_dtype` has no effect, buffers keep their type. "
                "Convert them in the module where another one is wanted."
            )
        return MixedPrecisionPolicy(
            param_dtype=given.param_dtype,
            reduce_dtype=given.reduce_dtype,
            cast_forward_inputs=getattr(given, "cast_root_forward_inputs", True),
        )
    if not precision.precision.endswith("-mixed"):
        return MixedPrecisionPolicy(cast_forward_inputs=False)
    dtype = torch.bfloat16 if precision.precision.startswith("bf16") else torch.float16
    # Autocast brings inputs to the right type, each operation to its own.
    return MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )


def offloading(given: Any, device: torch.device) -> Any:
    """The offload policy of `fully_shard`."""
    from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy

    if isinstance(given, OffloadPolicy):
        wanted, policy = type(given) is not OffloadPolicy, given
    else:
        wanted = bool(getattr(given, "offload_params", given))
        policy = CPUOffloadPolicy() if wanted else OffloadPolicy()
    if wanted and device.type == "cpu":
        raise MisconfigurationException(
            "`cpu_offload`: this run computes on the CPU, where its parameters are already. Leave "
            "it out, or pass accelerator='gpu'."
        )
    return policy
