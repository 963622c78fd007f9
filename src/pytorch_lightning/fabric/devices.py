"""`accelerator=` and `devices=` to a kind of device and the places of the processes."""

from __future__ import annotations

import sys
from typing import Any

import torch

from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from pytorch_lightning.distributed import ClusterEnvironment
from pytorch_lightning.fabric.refused import ACCELERATORS_REMOVED, is_strategy_name
from pytorch_lightning.strategies import ParallelStrategy, SingleDeviceStrategy, Strategy
from pytorch_lightning.utilities.environ import read_int
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.suggest import did_you_mean

_GPUS = ("mps", "cuda")  # what "gpu" means, the first that is there


def is_interactive() -> bool:
    """Whether this is a notebook or the prompt of Python."""
    return hasattr(sys, "ps1") or bool(sys.flags.interactive)


def resolve_accelerator(
    accelerator: str | Accelerator | None, strategy: str | Strategy | None
) -> Accelerator:
    """The kind of device that was given or named, or that is there."""
    if isinstance(accelerator, Accelerator):
        _check_available(accelerator, f"`accelerator={type(accelerator).__name__}()`")
        return accelerator
    if accelerator is None or accelerator == "auto":
        return _of_strategy(strategy) or _first_available()
    if accelerator == "gpu":
        return _gpu()
    if isinstance(accelerator, str) and AcceleratorRegistry.find(accelerator):
        found: Accelerator = AcceleratorRegistry.get(accelerator)
        _check_available(found, f"`accelerator={accelerator!r}`")
        if accelerator == "cpu":
            _hint_at_gpu()
        return found
    raise _no_accelerator(accelerator)


def _of_strategy(strategy: str | Strategy | None) -> Accelerator | None:
    """The kind that a strategy was made with, or that its devices are of."""
    if not isinstance(strategy, Strategy):
        return None
    if strategy.accelerator is not None:
        return strategy.accelerator
    places = given_places(strategy)
    if places and places[0].type in AcceleratorRegistry:
        found: Accelerator = AcceleratorRegistry.get(places[0].type)
        return found
    return None


def _first_available() -> Accelerator:
    """The first available one that is not the CPU, else the CPU."""
    for name in AcceleratorRegistry:
        if name != "cpu":
            candidate: Accelerator = AcceleratorRegistry.get(name)
            if candidate.is_available():
                return candidate
    cpu: Accelerator = AcceleratorRegistry.get("cpu")
    return cpu


def _gpu() -> Accelerator:
    for name in _GPUS:
        candidate: Accelerator = AcceleratorRegistry.get(name)
        if candidate.is_available():
            return candidate
    raise MisconfigurationException(
        f"`accelerator='gpu'`: this machine has no GPU that torch can use. Available: {_names()}."
    )


def _names() -> str:
    names = [n for n in AcceleratorRegistry if AcceleratorRegistry.get(n).is_available()]
    return ", ".join(repr(name) for name in [*names, "auto"])


def _check_available(accelerator: Accelerator, said: str) -> None:
    if not accelerator.is_available():
        raise MisconfigurationException(
            f"{said}: this machine has no such device. Available: {_names()}."
        )


def _hint_at_gpu() -> None:
    if any(AcceleratorRegistry.get(name).is_available() for name in _GPUS):
        warnings_given.info(
            "`accelerator='cpu'`: this machine has a GPU, which stays idle. Pass accelerator='gpu' "
            "or 'auto' to use it."
        )


def _no_accelerator(accelerator: object) -> Exception:
    available = f"Available: {_names()}."
    if accelerator in ACCELERATORS_REMOVED:
        return ValueError(f"`accelerator={accelerator!r}` was removed from the API. {available}")
    if isinstance(accelerator, str) and is_strategy_name(accelerator):
        return ValueError(
            f"`accelerator={accelerator!r}` is the name of a strategy: pass it as `strategy=`. "
            f"{available}"
        )
    near = did_you_mean(str(accelerator).lower(), [*AcceleratorRegistry, "gpu", "auto"])
    return ValueError(f"`accelerator={accelerator!r}` is unknown. {available}{near}")


def given_places(strategy: Strategy | str | None) -> list[torch.device]:
    """The devices that a strategy was made with; none if that was left to `devices`."""
    if isinstance(strategy, ParallelStrategy):
        return list(strategy.given_devices or [])
    return [strategy.root_device] if isinstance(strategy, SingleDeviceStrategy) else []


def resolve_devices(
    devices: list[int] | str | int | None,
    accelerator: Accelerator,
    environment: ClusterEnvironment,
    num_nodes: int,
) -> list[torch.device]:
    """The places of the processes of this machine."""
    wanted: Any = devices.strip() if isinstance(devices, str) else devices
    if isinstance(wanted, bool) or wanted in (0, "0", [], (), ""):
        raise MisconfigurationException(
            f"`devices={devices!r}`: a run needs at least one device. Pass 1 or 'auto'."
        )
    if wanted is None or wanted == "auto":
        wanted = _automatic_count(accelerator, environment, num_nodes)
    elif wanted in (-1, "-1"):
        wanted = accelerator.auto_device_count()
    places = accelerator.get_parallel_devices(accelerator.parse_devices(wanted))
    found = [torch.device(place) for place in places]
    if not found:
        raise MisconfigurationException(
            f"`devices={devices!r}`: {type(accelerator).__name__} finds no such device here."
        )
    return found


def _automatic_count(
    accelerator: Accelerator, environment: ClusterEnvironment, num_nodes: int
) -> int:
    """As many as a launcher started, else what the accelerator says; in notebooks one GPU."""
    count = accelerator.auto_device_count()
    if environment.creates_processes_externally:
        started = _started_here(environment, num_nodes)
        return started if accelerator.name() == "cpu" else min(started, count)
    return 1 if is_interactive() and accelerator.name() == "cuda" else count


def _started_here(environment: ClusterEnvironment, num_nodes: int) -> int:
    here = read_int("LOCAL_WORLD_SIZE")
    if here is not None:
        return here
    everywhere = max(environment.world_size(), read_int("WORLD_SIZE") or 1)
    return max(1, everywhere // num_nodes)
