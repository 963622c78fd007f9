"""Several processes, one device each: ranks, collectives, set-up."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.distributed import collectives
from pytorch_lightning.distributed.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.distributed.headers import meet_for
from pytorch_lightning.distributed.launchers import (
    Launcher,
    MultiprocessingLauncher,
    ScriptLauncher,
)
from pytorch_lightning.distributed.layer_sync import (
    LayerSync,
    TorchSyncBatchNorm,
    has_batch_norm,
)
from pytorch_lightning.distributed.process_group import (
    DEFAULT_TIMEOUT,
    control_group,
    join_group,
    leave_group,
)
from pytorch_lightning.distributed.watch import finish_run, report_fault
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies.gradients import sum_gradients
from pytorch_lightning.strategies.strategy import Strategy
from pytorch_lightning.utilities.exceptions import (
    MisconfigurationException,
    SIGTERMException,
)

_Broadcast = TypeVar("_Broadcast")
_ENDS_OF_ALL = (KeyboardInterrupt, SIGTERMException)  # they are agreed on: nobody is missing


class ParallelStrategy(Strategy, ABC):
    """The part that all strategies with several processes have in common.

    Args:
        parallel_devices: Of this machine, one for each process.
        cluster_environment: Tells the rank and the number of processes.
    """

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        super().__init__(accelerator, checkpoint_io, precision_plugin)
        self.parallel_devices = parallel_devices
        self.given_devices = parallel_devices
        self.given_environment = cluster_environment
        self._environment = cluster_environment
        self._start_method: str = "popen"
        self.num_nodes = 1
        self.layer_sync: LayerSync | None = None
        """What makes layers look at the batches of all processes, in `fit`."""
        self.process_group_backend: str | None = None
        self.timeout: timedelta = DEFAULT_TIMEOUT
        self._launcher: Launcher | None = None

    @property
    def start_method(self) -> str:
        """How processes are started: 'popen', or 'spawn', 'fork' or 'forkserver'."""
        return self._start_method

    @property
    def launcher(self) -> Launcher | None:
        """What starts the other processes; None where somebody else did."""
        return self._launcher

    def configure_launcher(self) -> None:
        """Choose what starts the other processes."""
        environment = self.cluster_environment
        if environment.creates_processes_externally:
            self._launcher = None
        elif self._start_method == "popen":
            self._launcher = ScriptLauncher(environment, self.num_processes, self.num_nodes)
        else:
            self._launcher = MultiprocessingLauncher(
                environment,
                self.num_processes,
                self.num_nodes,
                start_method=self._start_method,  # type: ignore[arg-type]  # checked by the strategy
            )

    # Who am I.

    @property
    def cluster_environment(self) -> ClusterEnvironment:
        """What the launcher of the processes says."""
        if self._environment is None:
            self._environment = LightningEnvironment()
        return self._environment

    @cluster_environment.setter
    def cluster_environment(self, environment: ClusterEnvironment) -> None:
        self._environment = environment

    def assign_devices(self, devices: Sequence[torch.device]) -> None:
        """Take the devices that were asked for, unless they were given here."""
        if self.given_devices is None:
            self.parallel_devices = list(devices)

    @property
    def num_processes(self) -> int:
        """The processes of this machine."""
        return len(self.parallel_devices or [None])

    @property
    def root_device(self) -> torch.device:
        """The device of this process."""
        devices = self.parallel_devices or [torch.device("cpu")]
        return devices[self.local_rank % len(devices)]

    @property
    def is_global_zero(self) -> bool:
        """Whether this process has rank 0."""
        return self.global_rank == 0

    @property
    def global_rank(self) -> int:
        """The rank among all processes."""
        return self.cluster_environment.global_rank()

    @property
    def local_rank(self) -> int:
        """The rank among the processes of this machine."""
        return self.cluster_environment.local_rank()

    @property
    def node_rank(self) -> int:
        """The rank of this machine."""
        return self.cluster_environment.node_rank()

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return self.cluster_environment.world_size()

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Arguments for a distributed sampler."""
        return {"num_replicas": self.data_world, "rank": self.data_rank}

    # Set-up.

    def tell_ranks(self) -> None:
        """Tell the environment what it does not know by itself; the launcher may have changed it.

        Called when the parts were resolved, and again in a process that was just started.
        """
        environment = self.cluster_environment
        environment.set_world_size(self.num_nodes * self.num_processes)
        rank = environment.node_rank() * self.num_processes + environment.local_rank()
        environment.set_global_rank(rank)

    def setup_environment(self) -> None:
        """Prepare the device, then meet the other processes."""
        super().setup_environment()
        self.setup_distributed()

    def set_world_ranks(self) -> None:
        """Tell the environment the number of this process."""
        self.tell_ranks()

    def setup_distributed(self) -> None:
        """Meet the other processes."""
        self.set_world_ranks()
        join_group(
            self.cluster_environment,
            backend=self.backend,
            timeout=self.timeout,
            plan=self.plan(),
        )

    @property
    def backend(self) -> str:
        """The library that moves tensors between the devices: 'nccl' or 'gloo'."""
        if self.process_group_backend is None:
            found = dist.get_default_backend_for_device(self.root_device.type)
            self.process_group_backend = str(found)
        return self.process_group_backend

    def plan(self) -> dict[str, Any]:
        """What the processes have to agree on before they begin."""
        return {
            "strategy": type(self).__name__,
            "num_nodes": self.num_nodes,
            "devices": self.num_processes,
            "precision": self.precision_plugin.precision,
        }

    def setup(self, trainer: Any) -> None:
        """Place the module, then make what refers to its parameters."""
        if trainer.state.fn == "fit":
            self._synchronize_layers()
        super().setup(trainer)

    def _synchronize_layers(self) -> None:
        sync, module = self.layer_sync, self._lightning_module
        if sync is None or module is None or self.world_size == 1:
            return
        on_cpu = self.root_device.type == "cpu"
        if on_cpu and isinstance(sync, TorchSyncBatchNorm) and has_batch_norm(module):
            raise MisconfigurationException(
                "`sync_batchnorm=True`: torch synchronizes batch norm on GPUs only, and this run "
                "computes on the CPU. Leave it out, or pass accelerator='gpu'."
            )
        sync.apply(module)

    # Several processes.

    def average_gradients(self, parameters: Iterable[nn.Parameter], share: float) -> None:
        """Add the gradients of all processes that backward left apart, each times its share.

        Every process has to call this, with the same parameters.

        Args:
            share: 0 for a process without data; `1 / world_size` everywhere gives the mean.
        """
        sum_gradients(parameters, share)

    @property
    def control_group(self) -> Any:
        """A group for small messages on the CPU."""
        return control_group()

    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """Reduce a tensor over all processes."""
        return collectives.reduce(tensor, group, reduce_op)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all processes."""
        if dist.is_initialized():
            meet_for("barrier", (), self.control_group)

    def broadcast(self, obj: _Broadcast, src: int = 0) -> _Broadcast:
        """Give an object of one process to all."""
        if not dist.is_initialized():
            return obj
        return collectives.broadcast_object(obj, src, self.control_group)

    def all_gather(
        self, tensor: Tensor, group: Any | None = None, sync_grads: bool = False
    ) -> Tensor:
        """Gather a tensor of all processes: shape (processes, *shape)."""
        found: Tensor = collectives.all_gather(tensor, group, sync_grads)
        return found

    def gather_objects(self, obj: Any) -> list[Any]:
        """The objects of all processes, by rank, in every process."""
        if not dist.is_initialized():
            return [obj]
        return collectives.gather_objects(obj, self.control_group)

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Agree on a decision.

        Args:
            all: All processes have to say yes; else one is enough.
        """
        if not dist.is_initialized():
            return decision
        return collectives.agree(decision, self.control_group, all=all)

    # The end.

    def teardown(self) -> None:
        """Bring the module home."""
        if self.layer_sync is not None and self._lightning_module is not None:
            self.layer_sync.revert(self._lightning_module)
        try:
            super().teardown()
        finally:
            self.cluster_environment.teardown()
            finish_run()

    def on_exception(self, exception: BaseException) -> None:
        """Tell the other processes, so that they end, too, and say why."""
        if self.background is not None and not isinstance(exception, _ENDS_OF_ALL):
            self.background.abandon()
        report_fault(exception)

    def leave(self) -> None:
        """End the group of processes."""
        leave_group()
