"""One process per XLA device."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.distributed.xla import XLAEnvironment
from pytorch_lightning.distributed.xla_launcher import XLALauncher
from pytorch_lightning.precision.xla import XLAPrecision
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.xla_marks import OnXLA, mark, set_debug
from pytorch_lightning.utilities.imports import import_optional

_Broadcast = TypeVar("_Broadcast")


class XLAStrategy(OnXLA, ParallelStrategy):
    """Data parallel training with one process for each XLA device.

    Args:
        debug: Let torch_xla explain what it compiles.
        sync_module_states: Give the weights of the first process to all before training.
    """

    strategy_name = "xla"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: XLAPrecision | None = None,
        debug: bool = False,
        sync_module_states: bool = True,
        **_: Any,
    ) -> None:
        super().__init__(
            accelerator, parallel_devices, XLAEnvironment(), checkpoint_io, precision_plugin
        )
        self.debug = debug
        self._sync_module_states = sync_module_states
        self._is_launched = False

    # The parts.

    @property
    def start_method(self) -> str:
        """How processes are started."""
        return "fork"

    def configure_launcher(self) -> None:
        """Several devices need as many processes, which torch_xla starts."""
        several = self.num_processes > 1
        self._launcher = XLALauncher() if several else None
        self._is_launched = not several

    # Who am I. Asking the runtime takes the devices, which only their own processes may.

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        if not self._is_launched or self.num_processes == 1:
            return (self.parallel_devices or [torch.device("xla", 0)])[0]
        device: torch.device = import_optional("torch_xla", purpose="`XLAStrategy`").device()
        return device

    @property
    def global_rank(self) -> int:
        """The rank among all processes."""
        return super().global_rank if self._is_launched else 0

    @property
    def local_rank(self) -> int:
        """The rank among the processes of this machine."""
        return super().local_rank if self._is_launched else 0

    @property
    def node_rank(self) -> int:
        """The rank of this machine."""
        return super().node_rank if self._is_launched else 0

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return super().world_size if self._is_launched else self.num_nodes * self.num_processes

    def tell_ranks(self) -> None:
        """Let the environment tell who speaks for all."""
        if self._is_launched:
            self.cluster_environment.set_global_rank(self.global_rank)

    # Set-up.

    def setup_distributed(self) -> None:
        """XLA has met the other processes already."""
        self._is_launched = True
        if self.debug:
            set_debug(True)
        self.tell_ranks()

    def setup(self, trainer: Any) -> None:
        """Place the module, and give all processes the same weights."""
        super().setup(trainer)
        if self._sync_module_states and self.world_size > 1 and self.model is not None:
            self._model_functions.broadcast_master_param(self.model)

    def model_to_device(self) -> None:
        """Move the module to the device of this process."""
        if self.model is not None:
            self.module_to_device(self.model)

    def setup_module(self, module: nn.Module) -> nn.Module:
        """A module needs no wrapper: gradients are averaged before each step."""
        return module

    # Several processes.

    @cached_property
    def _model_functions(self) -> Any:
        return import_optional("torch_xla.core.xla_model", purpose="`XLAStrategy`")

    @property
    def control_group(self) -> Any:
        """None: XLA has no groups on the CPU."""
        return None

    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """Sum or average a tensor or number over all processes."""
        name = getattr(reduce_op, "name", reduce_op) or "mean"
        if str(name).lower() not in ("sum", "mean", "avg"):
            raise ValueError(f"`reduce_op={reduce_op!r}`: on XLA devices pass 'sum' or 'mean'.")
        if not isinstance(tensor, Tensor):
            tensor = torch.tensor(tensor, device=self.root_device)
        there = tensor.to(self.root_device)
        gathered = self._model_functions.all_gather(there.reshape(1, *there.shape))
        total = gathered.sum(dim=0)
        result = total if str(name).lower() == "sum" else total.float() / self.world_size
        return result.to(tensor.device)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all processes."""
        if self._is_launched and self.world_size > 1:
            self._model_functions.rendezvous(name or "barrier")

    def broadcast(self, obj: _Broadcast, src: int = 0) -> _Broadcast:
        """Give an object of one process to all."""
        if not self._is_launched or self.world_size == 1:
            return obj
        found: _Broadcast = self.gather_objects(obj)[src]
        return found

    def gather_objects(self, obj: Any) -> list[Any]:
        """The objects of all processes, by rank, in every process."""
        if not self._is_launched or self.world_size == 1:
            return [obj]
        found: list[Any] = self._model_functions.mesh_reduce("objects", obj, list)
        return found

    def all_gather(
        self, tensor: Tensor, group: Any | None = None, sync_grads: bool = False
    ) -> Tensor:
        """Gather a tensor of all processes: shape (processes, *shape)."""
        there = tensor.to(self.root_device)
        there = there.reshape(1, *there.shape)
        functions = import_optional("torch_xla.core.functions", purpose="`XLAStrategy`")
        gather = functions.all_gather if sync_grads else self._model_functions.all_gather
        gathered: Tensor = gather(there, dim=0)
        return gathered.to(tensor.device)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Agree on a decision.

        Args:
            all: All processes have to say yes; else one is enough.
        """
        votes: int = sum(self.gather_objects(bool(decision)))
        return votes == self.world_size if all else votes > 0

    # State.

    @property
    def saves_alone(self) -> bool:
        """Tensors are brought to the CPU by all processes together."""
        return self.world_size == 1

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint, on one process."""
        mark()
        super().save_checkpoint(checkpoint, filepath, storage_options)

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `xla` and `xla_debug`."""
        strategy_registry.register("xla", cls, description=cls.__name__)
        strategy_registry.register("xla_debug", cls, description="XLA, explained", debug=True)
