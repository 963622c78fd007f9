"""Parameters, gradients and optimizer states spread over the processes: torch's `fully_shard`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.distributed.mesh import make_mesh
from pytorch_lightning.distributed.process_group import DEFAULT_TIMEOUT
from pytorch_lightning.precision import FSDPPrecision, Precision
from pytorch_lightning.precision.fsdp import NAMES
from pytorch_lightning.strategies import fsdp_options
from pytorch_lightning.strategies.gathering import average_in_backward, bring
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.sharded import ShardedStrategy, parameters_of
from pytorch_lightning.strategies.units import (
    Recomputed,
    chosen_modules,
    inner_first,
    materialize,
    units_of,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.parameter_tying import (
    find_shared_parameters,
    set_shared_parameters,
)

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


class FSDPStrategy(ShardedStrategy):
    """Fully sharded data parallel training.

    Each process holds a part of every parameter. Before a unit of layers computes, its parameters
    are gathered, and let go after; without `auto_wrap_policy` the module is one unit.

    Args:
        cpu_offload: Keep the parts in the memory of the CPU.
        mixed_precision: The types in which parameters are gathered and gradients reduced, in the
            words of torch's first or second FSDP; by default they follow the precision.
        auto_wrap_policy: Classes of modules that are units of their own, or a policy of torch.
        activation_checkpointing: Classes of modules that compute their activations anew.
        activation_checkpointing_policy: The same as a policy.
        sharding_strategy: 'FULL_SHARD' lets parameters go between forward and backward,
            'SHARD_GRAD_OP' keeps them, 'HYBRID_SHARD' divides them within groups of processes.
        state_dict_type: Whether a checkpoint is one file, or a folder of parts.
        device_mesh: For 'HYBRID_SHARD': the number of groups and their size, or a mesh.
    """

    strategy_name = "fsdp"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        cpu_offload: Any | None = None,
        mixed_precision: Any | None = None,
        auto_wrap_policy: Any | None = None,
        activation_checkpointing: type[nn.Module] | list[type[nn.Module]] | None = None,
        activation_checkpointing_policy: Any | None = None,
        sharding_strategy: Any = "FULL_SHARD",
        state_dict_type: Literal["full", "sharded"] = "full",
        device_mesh: tuple[int, int] | DeviceMesh | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            accelerator, parallel_devices, cluster_environment, checkpoint_io, precision_plugin
        )
        self.process_group_backend = process_group_backend
        self.timeout = timeout if timeout is not None else DEFAULT_TIMEOUT
        self.cpu_offload = cpu_offload
        self.mixed_precision = mixed_precision
        self.sharding_strategy = sharding_strategy
        self._sharding = fsdp_options.sharding_of(sharding_strategy)
        self._policy = auto_wrap_policy
        self._recompute_policy = _one_of(activation_checkpointing, activation_checkpointing_policy)
        self._given_mesh = device_mesh
        if state_dict_type not in ("full", "sharded"):
            raise ValueError(f"`state_dict_type={state_dict_type!r}`: pass 'full' or 'sharded'.")
        self.saves_in_parts = state_dict_type == "sharded"
        fsdp_options.check_options(kwargs)
        self._options = kwargs
        self._mesh: DeviceMesh | None = None
        self._marked: list[nn.Module] = []
        self._recomputed = Recomputed()
        self._replaced: dict[nn.Parameter, nn.Parameter] = {}

    @property
    def mixed_precision_config(self) -> Any | None:
        """The types in which parameters are gathered and gradients reduced."""
        if self.mixed_precision is not None:
            return self.mixed_precision
        return getattr(self.precision_plugin, "mixed_precision_config", None)

    def make_precision(self, precision: str) -> Precision | None:
        """The precision of this name for divided modules."""
        if precision not in NAMES:
            return None
        return FSDPPrecision(precision, device=self.root_device.type)  # type: ignore[arg-type]  # checked

    @property
    def mesh(self) -> DeviceMesh:
        """The processes in a row, or in groups."""
        if self._mesh is None:
            self._mesh = self._make_mesh()
        return self._mesh

    def _make_mesh(self) -> DeviceMesh:
        given, kind, world = self._given_mesh, self.root_device.type, self.world_size
        if given is not None and not isinstance(given, tuple):
            return given
        if not self._sharding.hybrid:
            if given is not None:
                raise MisconfigurationException(
                    f"`device_mesh={given}` makes groups of processes, which is "
                    "sharding_strategy='HYBRID_SHARD'. Pass that, or leave the mesh out."
                )
            return make_mesh(kind, world, {"shard": world}, "`devices`")
        groups, size = given if given is not None else (self.num_nodes, self.num_processes)
        said = f"`device_mesh={(groups, size)}`"
        return make_mesh(kind, world, {"replicate": groups, "shard": size}, said)

    # Set-up.

    @contextmanager
    def model_sharded_context(self) -> Iterator[None]:
        """A context in which `wrap` of torch's first FSDP says that a layer is a unit."""
        from torch.distributed.fsdp.wrap import enable_wrap

        with enable_wrap(wrapper_cls=self._mark):
            yield

    def _mark(self, module: nn.Module, **_: Any) -> nn.Module:
        self._marked.append(module)
        return module

    def model_to_device(self) -> None:
        """Divide the module: afterwards each process holds its part on its device."""
        assert self.model is not None, "connect() comes first"
        self.shard(self.model)
        self.gather_in_steps()

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Divide a module, for Fabric; of a compiled one, what is inside."""
        self.shard(getattr(module, "_orig_mod", module))
        return module

    def module_to_device(self, module: nn.Module) -> None:
        """Leave a module that is about to be divided where it is."""

    def setup_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Give an optimizer that was made before the module was divided its new parameters."""
        for group in optimizer.param_groups:
            group["params"] = [self._replaced.get(p, p) for p in group["params"]]
        strangers = [p for p in parameters_of(optimizer) if p.is_meta]
        if strangers:
            raise MisconfigurationException(
                "The optimizer holds parameters on the meta device, which the module does not have "
                "any more. Make it from `self.parameters()` in `configure_optimizers`."
            )
        for old, new in self._replaced.items():
            if old in optimizer.state:
                optimizer.state[new] = optimizer.state.pop(old)
        return super().setup_optimizer(optimizer)

    def shard(self, module: nn.Module) -> None:
        """Divide a module in place; one that is divided already stays as it is."""
        from torch.distributed.fsdp import FSDPModule

        if not isinstance(module, FSDPModule):
            before = dict(module.named_parameters())
            self._divide(module)
            after = dict(module.named_parameters())
            self._replaced.update((old, after[n]) for n, old in before.items() if n in after)
        if self._recompute_policy is not None:
            name = "activation_checkpointing_policy"
            self._recomputed.apply(chosen_modules(module, self._recompute_policy, name))

    def _divide(self, module: nn.Module) -> None:
        """Bring and divide one layer after the other, so that few are whole at a time."""
        from torch.distributed.fsdp import FSDPModule, fully_shard

        options = self._fully_shard_options(module)
        units = self._units(module, options["mp_policy"])
        shared = find_shared_parameters(module)
        for one in inner_first(module):
            materialize(one, self.root_device, self._options.get("param_init_fn"))
            bring(one, self.root_device, several=self.world_size > 1)
            if isinstance(one, FSDPModule) or (one is not module and one not in units):
                continue
            set_shared_parameters(module, shared)  # memory for a meta tensor parts what was one
            if one is module:
                fully_shard(one, **self._of_root(options))
            else:
                fully_shard(one, **{**options, **units[one]})

    def _fully_shard_options(self, module: nn.Module) -> dict[str, Any]:
        options: dict[str, Any] = {
            "mesh": self.mesh,
            "reshard_after_forward": self._sharding.reshard,
            "mp_policy": fsdp_options.mixed_types(self.mixed_precision, self.precision_plugin),
            "offload_policy": fsdp_options.offloading(self.cpu_offload, self.root_device),
        }
        ignored = fsdp_options.ignored_parameters(self._options)
        options["ignored_params"] = ignored.union(self._share_scalars(module))
        if place := self._options.get("shard_placement_fn"):
            options["shard_placement_fn"] = place
        return options

    def _share_scalars(self, module: nn.Module) -> set[nn.Parameter]:
        """Parameters without a dimension to divide stay whole; their gradients are averaged."""
        scalars = {p for p in module.parameters() if p.dim() == 0}
        for parameter in scalars:
            average_in_backward(parameter)
        return scalars

    def _of_root(self, options: dict[str, Any]) -> dict[str, Any]:
        """The root is needed again as soon as backward begins: torch decides whether to keep it."""
        if not self._sharding.reshard:
            return options
        return {name: value for name, value in options.items() if name != "reshard_after_forward"}

    def _units(self, module: nn.Module, types: Any) -> dict[nn.Module, dict[str, Any]]:
        """The layers that are gathered on their own, with the options that are theirs alone."""
        chosen = set(self._marked)
        if self._policy is not None:
            chosen.update(chosen_modules(module, self._policy, "auto_wrap_policy"))
        own: dict[nn.Module, dict[str, Any]] = {}
        if types.param_dtype is not None:  # its parameters must be as wide as its buffers
            wide = {"mp_policy": type(types)(cast_forward_inputs=False)}
            own = {m: wide for m in module.modules() if isinstance(m, _BatchNorm)}
        order = [m for m in inner_first(module) if (m in chosen or m in own) and m is not module]
        ignored = fsdp_options.ignored_parameters(self._options)
        return {unit: own.get(unit, {}) for unit in units_of(module, order, ignored)}

    # The end.

    def teardown(self) -> None:
        """End the run; the module stays divided."""
        self._recomputed.undo()
        self._marked.clear()
        self._replaced.clear()
        super().teardown()

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `fsdp`, with and without offloading, and the names of 1.x."""
        about = "parameters, gradients and optimizer states are divided"
        for name in ("fsdp", "fsdp_native"):
            strategy_registry.register(name, cls, description=about)
        for name in ("fsdp_cpu_offload", "fsdp_native_full_shard_offload"):
            strategy_registry.register(
                name, cls, description=f"{about} and kept on the CPU", cpu_offload=True
            )


def _one_of(classes: Any, policy: Any) -> Any:
    if classes is not None and policy is not None:
        raise ValueError(
            "`activation_checkpointing` and `activation_checkpointing_policy` both say which "
            "layers compute their activations anew. Pass the second one."
        )
    return classes if policy is None else policy
