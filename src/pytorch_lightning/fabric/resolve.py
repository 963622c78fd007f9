"""The arguments about hardware to the parts of a run; what cannot work is refused here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO
from pytorch_lightning.distributed import ClusterEnvironment
from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.distributed.layer_sync import LayerSync, TorchSyncBatchNorm
from pytorch_lightning.fabric.devices import (
    given_places,
    is_interactive,
    resolve_accelerator,
    resolve_devices,
)
from pytorch_lightning.fabric.precisions import check_device, resolve_precision
from pytorch_lightning.fabric.refused import (
    check_hardware,
    check_several,
    check_single,
    is_strategy_name,
    why_no_strategy,
)
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies import (
    ParallelStrategy,
    SingleDeviceStrategy,
    Strategy,
    StrategyRegistry,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.suggest import did_you_mean

Plugin = Precision | CheckpointIO | ClusterEnvironment | LayerSync


class Parts(NamedTuple):
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


class _Plugins(NamedTuple):
    precision: Precision | None = None
    checkpoint_io: CheckpointIO | None = None
    environment: ClusterEnvironment | None = None
    layer_sync: LayerSync | None = None


_PLUGIN_KINDS: dict[str, type] = {
    "precision": Precision,
    "checkpoint_io": CheckpointIO,
    "environment": ClusterEnvironment,
    "layer_sync": LayerSync,
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
    if isinstance(strategy, Strategy):
        _check_given_twice(strategy, given, accelerator=accelerator, precision=precision)
    kind = resolve_accelerator(accelerator, strategy)
    environment = _resolve_environment(strategy, given.environment)
    places = _resolve_places(devices, strategy, kind, environment, nodes)
    chosen = _resolve_strategy(strategy, kind, places, nodes)
    check_hardware(kind, chosen)
    if isinstance(chosen, ParallelStrategy):
        _join(chosen, environment, nodes)
        default = TorchSyncBatchNorm() if sync_batchnorm else None
        chosen.layer_sync = given.layer_sync or default
    else:
        check_single(chosen, places, nodes, environment)
    if "precision" in chosen.given_parts:
        numbers = chosen.precision_plugin
        check_device(numbers, chosen.root_device)
    else:
        numbers = resolve_precision(precision, given.precision, chosen)
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
    if isinstance(plugin, Strategy) or (isinstance(plugin, str) and is_strategy_name(plugin)):
        hint = " Pass a strategy as `strategy=`."
    elif isinstance(plugin, Accelerator):
        hint = " Pass an accelerator as `accelerator=`."
    raise MisconfigurationException(
        f"`plugins={plugin!r}`: expected a Precision, a CheckpointIO, a ClusterEnvironment "
        f"or a LayerSync.{hint}"
    )


def _resolve_environment(
    strategy: str | Strategy | None, plugin: ClusterEnvironment | None
) -> ClusterEnvironment:
    if isinstance(strategy, ParallelStrategy) and strategy.given_environment is not None:
        return strategy.given_environment
    return plugin or detect_environment()


def _resolve_places(
    devices: list[int] | str | int | None,
    strategy: str | Strategy | None,
    kind: Accelerator,
    environment: ClusterEnvironment,
    nodes: int,
) -> list[torch.device]:
    """The devices of this machine: those of the strategy where it was made with some."""
    given = given_places(strategy)
    if given and devices in (None, "auto"):
        return given
    places = resolve_devices(devices, kind, environment, nodes)
    if given and len(given) != len(places):
        raise MisconfigurationException(
            f"`devices={devices!r}` asks for {len(places)} device(s), and "
            f"{type(strategy).__name__}(...) was made with {len(given)}. Choose them in one place."
        )
    return given or places


def _join(strategy: ParallelStrategy, environment: ClusterEnvironment, nodes: int) -> None:
    """Tell a strategy who the processes are, and who starts them."""
    if strategy.given_environment is None:
        strategy.cluster_environment = environment
    strategy.num_nodes = nodes
    environment.validate_settings(num_devices=strategy.num_processes, num_nodes=nodes)
    strategy.tell_ranks()
    strategy.configure_launcher()
    check_several(strategy, interactive=is_interactive())


def _resolve_strategy(
    strategy: str | Strategy | None, kind: Accelerator, places: list[torch.device], nodes: int
) -> Strategy:
    if isinstance(strategy, Strategy):
        if not isinstance(strategy, SingleDeviceStrategy):
            strategy.assign_devices(places)
        return strategy
    automatic = _automatic_strategy(kind, len(places), nodes)
    name = automatic if strategy is None or strategy == "auto" else strategy
    if isinstance(name, str) and name in StrategyRegistry:
        made: Strategy = StrategyRegistry.get(name)
        made.assign_devices(places)
        return made
    if isinstance(name, str) and (reason := why_no_strategy(name)) is not None:
        raise ValueError(f"`strategy={name!r}` {reason}")
    known = ["auto", *StrategyRegistry.available_strategies()]
    raise ValueError(
        f"`strategy={strategy!r}` is unknown. Pass one of {', '.join(map(repr, known))}, or a "
        f"Strategy object.{did_you_mean(str(strategy), known)}"
    )


def _automatic_strategy(kind: Accelerator, num_devices: int, nodes: int) -> str:
    if kind.name() == "tpu":
        return "xla" if num_devices > 1 else "single_xla"
    if nodes > 1:
        return "ddp"
    if num_devices == 1:
        return "single_device"
    return "ddp_fork" if is_interactive() else "ddp"


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
        "environment": given.environment is not None and "`plugins=`",
    }
    chosen = set(strategy.given_parts)
    if isinstance(strategy, ParallelStrategy) and strategy.given_environment is not None:
        chosen.add("environment")
    for name, place in elsewhere.items():
        if place and name in chosen:
            raise MisconfigurationException(
                f"`{name}` was chosen twice: in {type(strategy).__name__}(...) and by {place}. "
                "Choose it in one place."
            )
