"""A module that the user divides in `configure_model`, along data and along layers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from torch import nn

from pytorch_lightning.distributed import collectives
from pytorch_lightning.distributed.mesh import check_size, make_mesh
from pytorch_lightning.distributed.process_group import DEFAULT_TIMEOUT
from pytorch_lightning.strategies.gathering import average_in_backward, bring
from pytorch_lightning.strategies.sharded import ShardedStrategy, mesh_of
from pytorch_lightning.strategies.units import materialize
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.model_helpers import is_overridden

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

DATA, TENSOR = "data_parallel", "tensor_parallel"


class ModelParallelStrategy(ShardedStrategy):
    """Processes in a grid: batches are dealt along one direction, layers divided along the other.

    `configure_model` finds the grid in `self.device_mesh`, with the directions "data_parallel" and
    "tensor_parallel", and divides the module with `parallelize_module` and `fully_shard` of torch.

    Args:
        data_parallel_size: How many groups get batches of their own; by default the machines.
        tensor_parallel_size: How many processes share a layer; by default those of a machine.
        save_distributed_checkpoint: Whether a checkpoint is a folder of parts, or one file.
    """

    def __init__(
        self,
        data_parallel_size: Literal["auto"] | int = "auto",
        tensor_parallel_size: Literal["auto"] | int = "auto",
        save_distributed_checkpoint: bool = True,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
    ) -> None:
        super().__init__()
        check_size("data_parallel_size", data_parallel_size)
        check_size("tensor_parallel_size", tensor_parallel_size)
        self._data_size = data_parallel_size
        self._tensor_size = tensor_parallel_size
        self.saves_in_parts = save_distributed_checkpoint
        self.process_group_backend = process_group_backend
        self.timeout = timeout if timeout is not None else DEFAULT_TIMEOUT
        self._mesh: DeviceMesh | None = None
        self._handles: list[Any] = []

    @property
    def device_mesh(self) -> DeviceMesh:
        """The grid of processes, once they have met."""
        if self._mesh is None:
            raise RuntimeError(
                "The `device_mesh` is made when the processes meet, before `setup` and "
                "`configure_model` are called."
            )
        return self._mesh

    # Who am I.

    def sizes(self) -> tuple[int, int]:
        """How many processes lie along the data, and along the layers."""
        data: Any = self._data_size
        tensor: Any = self._tensor_size
        if data == "auto":
            data = self.num_nodes if tensor == "auto" else max(self.world_size // tensor, 1)
        return data, max(self.world_size // data, 1) if tensor == "auto" else tensor

    @property
    def data_rank(self) -> int:
        """The place along the data: processes that share layers get the same batches."""
        return self.global_rank // self.sizes()[1]

    @property
    def data_world(self) -> int:
        """Into how many shares the data is dealt."""
        return self.sizes()[0]

    # Set-up.

    def setup_environment(self) -> None:
        """Meet the other processes, then stand in a grid."""
        super().setup_environment()
        if self._mesh is None:
            data, tensor = self.sizes()
            said = (
                f"`data_parallel_size={self._data_size!r}` and "
                f"`tensor_parallel_size={self._tensor_size!r}`"
            )
            axes = {DATA: data, TENSOR: tensor}
            self._mesh = make_mesh(self.root_device.type, self.world_size, axes, said)

    def setup(self, trainer: Any) -> None:
        """Take the module as `configure_model` divided it."""
        module = self._lightning_module
        assert module is not None, "connect() comes first"
        if not is_overridden("configure_model", module):
            raise MisconfigurationException(
                f"`ModelParallelStrategy`: `{type(module).__name__}` has no `configure_model`, "
                "which has to divide the module: `parallelize_module(layer, "
                "self.device_mesh['tensor_parallel'], plan)`, `fully_shard(layer, "
                "mesh=self.device_mesh['data_parallel'])`. Write it, or pass strategy='fsdp', "
                "which divides any module by itself."
            )
        super().setup(trainer)

    def model_to_device(self) -> None:
        """Bring what is whole to the device, and let its gradients be averaged over the data."""
        assert self.model is not None, "connect() comes first"
        self.setup_module(self.model)
        self.gather_in_steps()

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Take a module that was divided before."""
        for one in module.modules():
            materialize(one, self.root_device)
            bring(one, self.root_device, several=self.world_size > 1)
        if self.sizes()[0] > 1:
            group = self.device_mesh[DATA].get_group()
            apart = [p for p in module.parameters() if DATA not in _axes(p)]
            self._handles += [average_in_backward(parameter, group) for parameter in apart]
        return module

    def module_to_device(self, module: nn.Module) -> None:
        """Leave a module that is divided where it is."""

    # Several processes.

    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """Reduce a tensor over the processes that have batches of their own."""
        group = self.device_mesh[DATA].get_group() if group is None else group
        return collectives.reduce(tensor, group, reduce_op)

    # The end.

    def teardown(self) -> None:
        """End the run; the module stays divided."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        super().teardown()


def _axes(parameter: nn.Parameter) -> tuple[str, ...]:
    """The names of the directions along which a parameter lies."""
    mesh = mesh_of(parameter)
    return () if mesh is None else mesh.mesh_dim_names or ()
