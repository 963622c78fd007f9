"""The arguments about hardware to the parts of a run; what cannot work is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO
from pytorch_lightning.distributed import ClusterEnvironment
from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.fabric.refused import (
    ACCELERATORS_ELSEWHERE,
    ACCELERATORS_REMOVED,
    PRECISIONS_ELSEWHERE,
    why_no_strategy,
)
from pytorch_lightning.precision import (
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
)
from pytorch_lightning.strategies import ParallelStrategy, Strategy, StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.suggest import did_you_mean

PRECISIONS = ("32-true", "64-true", "16-mixed", "bf16-mixed", "16-true", "bf16-true")
_OLDER_SPELLINGS: dict[object, str] = {
    "64": "64-true",
    "32": "32-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
    "mixed": "16-mixed",
}
Plugin = Precision | CheckpointIO | ClusterEnvironment


@dataclass(frozen=True)
class Parts:
    """What the arguments about hardware mean; the strategy already holds the other parts."""

    accelerator: Accelerator
    strategy: Strategy
    precision: Precision
    environment: ClusterEnvironment
    checkpoint_io: CheckpointIO
    devices: tuple[torch.device, ...]
    num_nodes: int
    sync_batchnorm: bool

    @property
    def num_devices(self) -> int:
        """The number of devices on this machine."""
        return len(self.devices)


@dataclass(frozen=True)
class _Plugins:
    precision: Precision | None = None
    checkpoint_io: CheckpointIO | None = None
    environment: ClusterEnvironment | None = None


_PLUGIN_KINDS: dict[str, type] = {
    "precision": Precision,
    "checkpoint_io": CheckpointIO,
    "environment": ClusterEnvironment,
}


def resolve(  # the documented arguments
    *,
    accelerator: str | Accelerator | None = "auto",
    strategy: str | Strategy | None = "auto",
    devices: list[int] | str | int | None = "auto",
    num_nodes: int | None = 1,
    precision: str | int | None = None,
    plugins: Plugin | Sequence[Plugin] | None = None,
    sync_batchnorm: bool = False,
) -> Parts:
    """Make the parts of a run; `None` means the default everywhere."""
    nodes = _resolve_nodes(num_nodes)
    given = _sort_plugins(plugins)
    kind = _resolve_accelerator(accelerator, strategy)
    places = _resolve_devices(devices, kind)
    environment = given.environment or detect_environment()
    chosen = _resolve_strategy(strategy, places, nodes)
    if isinstance(chosen, ParallelStrategy):
        _join(chosen, environment, nodes)
    _check_given_twice(chosen, given, accelerator=accelerator, precision=precision)
    numbers = _resolve_precision(precision, given.precision, chosen.root_device)
    chosen.adopt(kind, given.checkpoint_io or TorchCheckpointIO(), numbers)
    assert chosen.accelerator is not None
    return Parts(
        accelerator=chosen.accelerator,
        strategy=chosen,
        precision=chosen.precision_plugin,
        environment=environment,
        checkpoint_io=chosen.checkpoint_io,
        devices=tuple(places),
        num_nodes=nodes,
        sync_batchnorm=bool(sync_batchnorm),
    )


def _resolve_nodes(num_nodes: int | None) -> int:
    nodes = 1 if num_nodes is None else num_nodes
    if not isinstance(nodes, int) or isinstance(nodes, bool) or nodes < 1:
        raise ValueError(f"`num_nodes={num_nodes!r}`: pass a number from 1 on.")
    return nodes


def _sort_plugins(plugins: Plugin | Sequence[Plugin] | None) -> _Plugins:
    listed: Sequence[object] = plugins if isinstance(plugins, list | tuple) else [plugins]
    if plugins is None:
        listed = []
    found: dict[str, Any] = {}
    for plugin in listed:
        name = _kind_of_plugin(plugin)
        if name in found:
            raise MisconfigurationException(
                f"`plugins` has two of a kind: {type(found[name]).__name__} and "
                f"{type(plugin).__name__}. Pass one."
            )
        found[name] = plugin
    return _Plugins(**found)


def _kind_of_plugin(plugin: object) -> str:
    for name, kind in _PLUGIN_KINDS.items():
        if isinstance(plugin, kind):
            return name
    hint = ""
    if isinstance(plugin, Strategy) or (isinstance(plugin, str) and _is_strategy_name(plugin)):
        hint = " Pass a strategy as `strategy=`."
    elif isinstance(plugin, Accelerator):
        hint = " Pass an accelerator as `accelerator=`."
    raise MisconfigurationException(
        f"`plugins={plugin!r}`: expected a Precision, a CheckpointIO or a ClusterEnvironment.{hint}"
    )


def _is_strategy_name(name: str) -> bool:
    return name in StrategyRegistry or why_no_strategy(name) is not None


def _resolve_accelerator(
    accelerator: str | Accelerator | None, strategy: str | Strategy | None
) -> Accelerator:
    if isinstance(accelerator, Accelerator):
        _check_available(accelerator, f"`accelerator={type(accelerator).__name__}()`")
        return accelerator
    if accelerator is None or accelerator == "auto":
        if isinstance(strategy, Strategy) and strategy.accelerator is not None:
            return strategy.accelerator
        return _automatic_accelerator()
    if isinstance(accelerator, str) and accelerator in AcceleratorRegistry:
        found: Accelerator = AcceleratorRegistry.get(accelerator)
        _check_available(found, f"`accelerator={accelerator!r}`")
        return found
    raise _no_accelerator(accelerator)


def _automatic_accelerator() -> Accelerator:
    """The first available one that was registered beside the CPU, else the CPU."""
    for name in AcceleratorRegistry:
        if name != "cpu":
            candidate: Accelerator = AcceleratorRegistry.get(name)
            if candidate.is_available():
                return candidate
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        warnings_given.info(
            "This machine has a GPU; this release computes on the CPU and leaves it idle."
        )
    cpu: Accelerator = AcceleratorRegistry.get("cpu")
    return cpu


def _available_accelerators() -> str:
    names = [n for n in AcceleratorRegistry if AcceleratorRegistry.get(n).is_available()]
    return ", ".join(repr(name) for name in [*names, "auto"])


def _check_available(accelerator: Accelerator, said: str) -> None:
    if not accelerator.is_available():
        raise MisconfigurationException(
            f"{said}: this machine has no such device. Available: {_available_accelerators()}."
        )


def _no_accelerator(accelerator: object) -> Exception:
    known = [*AcceleratorRegistry, "auto", *ACCELERATORS_ELSEWHERE]
    available = f"Available: {_available_accelerators()}."
    if accelerator in ACCELERATORS_ELSEWHERE:
        return MisconfigurationException(
            f"`accelerator={accelerator!r}`: no such device can be used here, since this release "
            f"computes on the CPU. {available}"
        )
    if accelerator in ACCELERATORS_REMOVED:
        return ValueError(f"`accelerator={accelerator!r}` was removed from the API. {available}")
    if isinstance(accelerator, str) and _is_strategy_name(accelerator):
        return ValueError(
            f"`accelerator={accelerator!r}` is the name of a strategy: pass it as `strategy=`. "
            f"{available}"
        )
    near = did_you_mean(str(accelerator).lower(), known)
    return ValueError(f"`accelerator={accelerator!r}` is unknown. {available}{near}")


def _resolve_devices(
    devices: list[int] | str | int | None, accelerator: Accelerator
) -> list[torch.device]:
    wanted: Any = devices.strip() if isinstance(devices, str) else devices
    if isinstance(wanted, bool) or wanted in (0, "0", [], ""):
        raise MisconfigurationException(
            f"`devices={devices!r}`: a run needs at least one device. Pass 1 or 'auto'."
        )
    if wanted is None or wanted in ("auto", -1, "-1"):
        wanted = accelerator.auto_device_count()
    places = accelerator.get_parallel_devices(accelerator.parse_devices(wanted))
    found = [torch.device(place) for place in places]
    if not found:
        raise MisconfigurationException(
            f"`devices={devices!r}`: {type(accelerator).__name__} finds no such device here."
        )
    return found


def _join(strategy: ParallelStrategy, environment: ClusterEnvironment, nodes: int) -> None:
    """Tell a strategy who the processes are, and who starts them."""
    if strategy.given_environment is None:
        strategy.cluster_environment = environment
    strategy.num_nodes = nodes
    strategy.tell_ranks()
    strategy.configure_launcher()


def _resolve_strategy(
    strategy: str | Strategy | None, places: list[torch.device], nodes: int
) -> Strategy:
    if isinstance(strategy, Strategy):
        if isinstance(strategy, ParallelStrategy):
            strategy.assign_devices(places)
        return strategy
    automatic = "ddp" if len(places) > 1 or nodes > 1 else "single_device"
    name = automatic if strategy is None or strategy == "auto" else strategy
    if isinstance(name, str) and name in StrategyRegistry:
        made: Strategy = StrategyRegistry.get(name)
        made.assign_devices(places)
        return made
    if isinstance(name, str) and (reason := why_no_strategy(name)) is not None:
        text = f"`strategy={name!r}`: {reason}"
        raise ValueError(text) if "was removed" in reason else MisconfigurationException(text)
    known = ["auto", *StrategyRegistry.available_strategies()]
    raise ValueError(
        f"`strategy={strategy!r}` is unknown. Pass one of {', '.join(map(repr, known))}, or a "
        f"Strategy object.{did_you_mean(str(strategy), known)}"
    )


def _check_given_twice(
    strategy: Strategy,
    given: _Plugins,
    *,
    accelerator: str | Accelerator | None,
    precision: str | int | None,
) -> None:
    """Refuse a part that was chosen in two places."""
    elsewhere = {
        "accelerator": accelerator not in (None, "auto") and "`accelerator=`",
        "precision": (precision is not None and "`precision=`")
        or (given.precision is not None and "`plugins=`"),
        "checkpoint_io": given.checkpoint_io is not None and "`plugins=`",
    }
    for name, place in elsewhere.items():
        if place and name in strategy.given_parts:
            raise MisconfigurationException(
                f"`{name}` was chosen twice: in {type(strategy).__name__}(...) and by {place}. "
                "Choose it in one place."
            )


def _resolve_precision(
    precision: str | int | None, plugin: Precision | None, device: torch.device
) -> Precision:
    if plugin is not None:
        if precision is not None:
            raise ValueError(
                f"`precision={precision!r}` and `plugins={type(plugin).__name__}(...)` both choose "
                "the precision. Choose one."
            )
        return plugin
    name = canonical_precision(precision)
    if name == "64-true":
        return DoublePrecision()
    if name in ("16-mixed", "bf16-mixed"):
        return MixedPrecision(name, device.type)  # type: ignore[arg-type]  # one of the literals
    if name in ("16-true", "bf16-true"):
        return HalfPrecision(name)  # type: ignore[arg-type]  # one of the literals
    return Precision()


def canonical_precision(precision: str | int | None) -> str:
    """The present spelling of a precision."""
    if precision is None:
        return "32-true"
    text = precision if isinstance(precision, str) else str(precision)
    name = _OLDER_SPELLINGS.get(text, text)
    if name in PRECISIONS and not isinstance(precision, bool | float):
        return name
    if name in PRECISIONS_ELSEWHERE:
        raise MisconfigurationException(
            f"`precision={precision!r}` needs an NVIDIA GPU and the package transformer_engine; it "
            "is not part of this release. Pass precision='bf16-mixed'."
        )
    known = ", ".join(repr(one) for one in PRECISIONS)
    raise ValueError(
        f"`precision={precision!r}` is unknown. Pass one of {known}."
        + did_you_mean(text.lower(), [*PRECISIONS, "bf16"])
    )
