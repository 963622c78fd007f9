"""What cannot work together or is gone, and what to write instead."""

from __future__ import annotations

import torch

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.distributed import ClusterEnvironment
from pytorch_lightning.distributed.process_group import has_met
from pytorch_lightning.strategies import (
    ParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
    StrategyRegistry,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException

_REMOVED = "was removed from the API. Pass strategy="
_SEVERAL_DEVICES = f"{_REMOVED}'ddp' where several devices are needed, else 'auto'."
_SPLIT = f"{_REMOVED}'fsdp' where parameters have to be split, else 'auto'."
_TPU = f"{_REMOVED}'xla'."

STRATEGIES = {
    "dp": _SEVERAL_DEVICES,
    "ddp2": _SEVERAL_DEVICES,
    "horovod": _SEVERAL_DEVICES,
    "bagua": _SEVERAL_DEVICES,
    "hivemind": _SEVERAL_DEVICES,
    "ddp_sharded": _SPLIT,
    "ddp_sharded_spawn": _SPLIT,
    "ddp_fully_sharded": _SPLIT,
    "colossalai": _SPLIT,
    "tpu_spawn": _TPU,
    "tpu_spawn_debug": f"{_REMOVED}'xla_debug'.",
    "ipu_strategy": f"{_REMOVED}'auto'.",
    "hpu_parallel": f"{_REMOVED}'auto'.",
    "hpu_single": f"{_REMOVED}'auto'.",
}
ACCELERATORS_REMOVED = ("hpu", "ipu")


def why_no_strategy(name: str) -> str | None:
    """The end of a sentence that begins with the strategy's name, if it is of 1.x."""
    return STRATEGIES.get(name.split("_find_unused_parameters_", 1)[0])


def is_strategy_name(name: str) -> bool:
    """Whether this is the name of a strategy, of today or of 1.x."""
    return name in StrategyRegistry or why_no_strategy(name) is not None


def check_hardware(accelerator: Accelerator, strategy: Strategy) -> None:
    """Refuse a strategy on a kind of device where it cannot work."""
    name, kind = type(strategy).__name__, accelerator.name()
    works_on = strategy.accelerators
    if works_on is not None and kind not in works_on:
        raise MisconfigurationException(
            f"`strategy={name}` works with accelerator={' or '.join(map(repr, works_on))}, not "
            f"{kind!r}. Pass another strategy, or 'auto'."
        )
    if kind == "tpu" and "tpu" not in (works_on or ()):
        raise MisconfigurationException(
            f"`strategy={name}` does not work with accelerator='tpu'. Pass strategy='auto' or "
            "'xla'."
        )
    if kind == "mps" and isinstance(strategy, ParallelStrategy):
        raise MisconfigurationException(
            f"`strategy={name}`: with accelerator='mps' there is one device, and several processes "
            "cannot share it. Pass strategy='auto'."
        )


def check_single(
    strategy: Strategy,
    places: list[torch.device],
    num_nodes: int,
    environment: ClusterEnvironment,
) -> None:
    """Refuse one process where several were asked for, or were launched."""
    name = type(strategy).__name__
    if isinstance(strategy, SingleDeviceStrategy):
        if len(places) > 1:
            raise MisconfigurationException(
                f"`strategy={name}` uses one device, `devices` asks for {len(places)}. Pass "
                "devices=1, or strategy='auto'."
            )
        if num_nodes > 1:
            raise MisconfigurationException(
                f"`strategy={name}` uses one device, `num_nodes={num_nodes}` asks for more. Pass "
                "num_nodes=1, or strategy='auto'."
            )
    if not has_met():  # else one of several goes on alone, as in a test after the training
        environment.validate_settings(num_devices=1, num_nodes=num_nodes)


def check_several(strategy: ParallelStrategy, *, interactive: bool) -> None:
    """Refuse a way to start processes that cannot work here."""
    name, launcher = type(strategy).__name__, strategy.launcher
    if interactive and launcher is not None and not launcher.is_interactive_compatible:
        raise MisconfigurationException(
            f"`strategy={name}`: this way to start processes does not work in a notebook. Pass "
            "strategy='ddp_notebook' or 'auto', or run a script."
        )
    external = strategy.cluster_environment.creates_processes_externally
    if external and strategy.start_method != "popen":
        environment = type(strategy.cluster_environment).__name__
        raise MisconfigurationException(
            f"`strategy={name}(start_method={strategy.start_method!r})` starts processes, which "
            f"{environment} says was done already. Pass strategy='ddp', or start one process."
        )
