"""The contract of how a module is spread over devices and processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies.placement import (
    initialization_context,
    load_optimizer_states,
    move_optimizers,
)
from pytorch_lightning.strategies.saving import Saving
from pytorch_lightning.strategies.stage_hooks import StageHooks
from pytorch_lightning.strategies.wrapping import Wrapping
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.tree import move_data_to_device

if TYPE_CHECKING:
    from pytorch_lightning.core.module import LightningModule
    from pytorch_lightning.strategies.registry import Registry
    from pytorch_lightning.trainer.trainer import Trainer

_Broadcast = TypeVar("_Broadcast")
_PARTS = ("accelerator", "checkpoint_io", "precision")
NOTHING = nullcontext()  # holds no state, so one serves everybody

OptimizersAndSchedulers = tuple[list[Optimizer], list[Any]]


class Strategy(StageHooks, Wrapping, Saving, ABC):
    """How a module is placed, called, stepped and saved.

    Everything that differs between one device and many goes through these methods, in the trainer
    and in Fabric alike.

    A run calls: `connect`, `setup_environment`, `setup`, then the steps, and `teardown` at the end.
    """

    forward_communicates: bool = False
    """Whether a step waits for the same step of all other processes."""

    allows_inference_mode: bool = True
    """Whether evaluation may run under `torch.inference_mode` instead of `torch.no_grad`."""

    accelerators: tuple[str, ...] | None = None
    """The names of the accelerators that it works with; None for all."""

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
    ) -> None:
        self._accelerator = accelerator
        self._checkpoint_io = checkpoint_io
        self._precision_plugin = precision_plugin
        parts = (accelerator, checkpoint_io, precision_plugin)
        self.given_parts = {n for n, p in zip(_PARTS, parts, strict=True) if p is not None}
        """Which parts the user chose here, so that they are not chosen again elsewhere."""
        self._lightning_module: LightningModule | None = None
        self._model: nn.Module | None = None
        self._optimizers: list[Optimizer] = []
        self.lr_scheduler_configs: list[Any] = []
        self.build_optimizers: Callable[[], OptimizersAndSchedulers] | None = None
        """Given by the trainer: what `configure_optimizers` returned, as plain data."""
        self.transfer_batch: Callable[[Any, torch.device, int], Any] | None = None
        """Given by the trainer: the transfer hooks of whoever has them, datamodule or module."""

    # The parts.

    @property
    def accelerator(self) -> Accelerator | None:
        """The kind of device."""
        return self._accelerator

    @accelerator.setter
    def accelerator(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.given_parts.add("accelerator")

    @property
    def checkpoint_io(self) -> CheckpointIO:
        """What writes and reads files."""
        if self._checkpoint_io is None:
            self._checkpoint_io = TorchCheckpointIO()
        return self._checkpoint_io

    @checkpoint_io.setter
    def checkpoint_io(self, checkpoint_io: CheckpointIO) -> None:
        self._checkpoint_io = checkpoint_io
        self.given_parts.add("checkpoint_io")

    @property
    def precision_plugin(self) -> Precision:
        """How numbers are kept."""
        if self._precision_plugin is None:
            self._precision_plugin = Precision()
        return self._precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, precision_plugin: Precision) -> None:
        self._precision_plugin = precision_plugin
        self.given_parts.add("precision")

    def adopt(
        self, accelerator: Accelerator, checkpoint_io: CheckpointIO, precision: Precision
    ) -> None:
        """Take the parts that were resolved, but for those that were chosen here."""
        if "accelerator" not in self.given_parts:
            self._accelerator = accelerator
        if "checkpoint_io" not in self.given_parts:
            self._checkpoint_io = checkpoint_io
        if "precision" not in self.given_parts:
            self._precision_plugin = precision

    def make_precision(self, precision: str) -> Precision | None:
        """The precision of this name, where the strategy needs a kind of its own."""
        return None

    @property
    def launcher(self) -> Any | None:
        """What starts other processes; none where one is enough."""
        return None

    # The module and its optimizers.

    @property
    def model(self) -> nn.Module | None:
        """The module as it is called, wrapped where the strategy wraps it."""
        return self._model if self._model is not None else self._lightning_module

    @model.setter
    def model(self, model: nn.Module | None) -> None:
        self._model = model

    @property
    def lightning_module(self) -> LightningModule | None:
        """The module as the user wrote it."""
        return self._lightning_module

    @property
    def optimizers(self) -> list[Optimizer]:
        """The optimizers of the run."""
        return self._optimizers

    @optimizers.setter
    def optimizers(self, optimizers: list[Optimizer]) -> None:
        self._optimizers = optimizers

    # Who am I.

    @property
    @abstractmethod
    def root_device(self) -> torch.device:
        """The device of this process."""

    @property
    @abstractmethod
    def is_global_zero(self) -> bool:
        """Whether this process has rank 0."""

    @property
    def global_rank(self) -> int:
        """The rank among all processes."""
        return 0

    @property
    def local_rank(self) -> int:
        """The rank among the processes of this node."""
        return 0

    @property
    def node_rank(self) -> int:
        """The rank of this node."""
        return 0

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return 1

    @property
    def data_rank(self) -> int:
        """Which share of the data is this process's; those of one share get the same batches."""
        return self.global_rank

    @property
    def data_world(self) -> int:
        """Into how many shares the data is dealt."""
        return self.world_size

    # Set-up.

    def connect(self, model: LightningModule) -> None:
        """Take the module of the run."""
        self._lightning_module = model
        self._model = model

    @plain
    def assign_devices(self, devices: Sequence[torch.device]) -> None:
        """Learn the devices of this machine, when the strategy was asked for by name."""

    def setup_environment(self) -> None:
        """Prepare the device and, where there are several, the processes."""
        if self.accelerator is not None:
            self.accelerator.setup_device(self.root_device)

    def setup(self, trainer: Trainer) -> None:
        """Place the module, then make what refers to its parameters."""
        assert self._lightning_module is not None, "connect() comes first"
        if self.accelerator is not None:
            self.accelerator.setup(trainer)
        self.model = self.precision_plugin.convert_module(self._lightning_module)
        self.model_to_device()
        if trainer.state.fn == "fit":
            self.setup_optimizers(trainer)
        self.setup_precision_plugin()
        move_optimizers(self.optimizers, self.root_device)

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Make optimizers and schedulers."""
        if self.build_optimizers is not None:
            self.optimizers, self.lr_scheduler_configs = self.build_optimizers()

    def setup_precision_plugin(self) -> None:
        """Let the precision take part."""
        if self.model is None:
            return
        self.model, self.optimizers, self.lr_scheduler_configs = self.precision_plugin.connect(
            self.model, self.optimizers, self.lr_scheduler_configs
        )

    @abstractmethod
    def model_to_device(self) -> None:
        """Move the module to the root device."""

    def module_to_device(self, module: nn.Module) -> None:
        """Move any module to the root device."""
        module.to(self.root_device)

    @plain
    def process_dataloader(self, dataloader: object) -> object:
        """Wrap a loader."""
        return dataloader

    def tensor_init_context(self, empty_init: bool | None = None) -> AbstractContextManager[None]:
        """A context in which new tensors are on the device and in the precision of the run.

        Args:
            empty_init: Leave parameters uninitialized.
        """
        return initialization_context(
            self.root_device, self.precision_plugin.tensor_init_context(), bool(empty_init)
        )

    def module_init_context(self, empty_init: bool | None = None) -> AbstractContextManager[None]:
        """A context in which new modules are on the device and in the precision of the run."""
        return initialization_context(
            self.root_device, self.precision_plugin.module_init_context(), bool(empty_init)
        )

    @plain
    def model_sharded_context(self) -> AbstractContextManager[Any]:
        """A context in which `configure_model` makes layers that are spread at once."""
        return NOTHING

    # One batch.

    @plain
    def batch_to_device(
        self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0
    ) -> Any:
        """Move a batch, through the module's hooks where there is a module."""
        target = device if device is not None else self.root_device
        if self.transfer_batch is not None:
            return self.transfer_batch(batch, target, dataloader_idx)
        module = self._lightning_module
        if module is None:
            return move_data_to_device(batch, target)
        batch = module.on_before_batch_transfer(batch, dataloader_idx)
        batch = module.transfer_batch_to_device(batch, target, dataloader_idx)
        return module.on_after_batch_transfer(batch, dataloader_idx)

    @plain
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `training_step`."""
        with self.precision_plugin.train_step_context():
            return self._lightning_module.training_step(*args, **kwargs)  # type: ignore[union-attr]  # set by connect

    @plain
    def validation_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `validation_step`."""
        with self.precision_plugin.val_step_context():
            return self._lightning_module.validation_step(*args, **kwargs)  # type: ignore[union-attr]  # set by connect

    @plain
    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `test_step`."""
        with self.precision_plugin.test_step_context():
            return self._lightning_module.test_step(*args, **kwargs)  # type: ignore[union-attr]  # set by connect

    @plain
    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `predict_step`."""
        with self.precision_plugin.predict_step_context():
            return self._lightning_module.predict_step(*args, **kwargs)  # type: ignore[union-attr]  # set by connect

    @plain
    def backward(
        self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the gradients.

        Returns:
            The loss as the precision leaves it.
        """
        precision, module = self.precision_plugin, self._lightning_module
        self.pre_backward(closure_loss)
        loss = precision.pre_backward(closure_loss, module)
        precision.backward(loss, module, optimizer, *args, **kwargs)
        loss = precision.post_backward(loss, module)
        self.post_backward(loss)
        return loss

    @plain
    def pre_backward(self, closure_loss: Tensor) -> None:
        """Just before the backward pass."""

    @plain
    def post_backward(self, closure_loss: Tensor) -> None:
        """Just after the backward pass."""

    @plain
    def post_training_step(self) -> None:
        """After each training step."""

    @plain
    def optimizer_step(
        self,
        optimizer: Optimizer,
        closure: Callable[[], Any] | None,
        model: LightningModule | nn.Module | None = None,
        **kwargs: Any,
    ) -> Any:
        """Step one optimizer.

        Returns:
            What the closure returned.
        """
        owner = model if model is not None else self._lightning_module
        return self.precision_plugin.optimizer_step(
            optimizer, model=owner, closure=closure, **kwargs
        )

    # Several processes.

    @abstractmethod
    def reduce(self, tensor: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """Reduce a tensor over all processes."""

    @abstractmethod
    def barrier(self, name: str | None = None) -> None:
        """Wait for all processes."""

    @abstractmethod
    def broadcast(self, obj: _Broadcast, src: int = 0) -> _Broadcast:
        """Give an object of one process to all."""

    @property
    def control_group(self) -> Any:
        """The group for small messages on the CPU; None with one process."""
        return None

    @plain
    def run_alone(self) -> AbstractContextManager[Any]:
        """A context in which the steps of this process wait for no other."""
        return NOTHING

    @plain
    def step_of_nothing(self, *args: Any) -> None:
        """Do what surrounds a `training_step` of the other processes, without a batch."""

    @plain
    def exchange_nothing(self) -> None:
        """Take part in a backward of the other processes with zeros, where that is possible."""

    @plain
    def average_gradients(self, parameters: Sequence[nn.Parameter], share: float) -> None:
        """Add up the gradients of all processes, those of this one times its share; in place."""

    @plain
    def gather_objects(self, obj: Any) -> list[Any]:
        """The objects of all processes, by rank, in every process."""
        return [self.broadcast(obj, src) for src in range(self.world_size)]

    @abstractmethod
    def all_gather(
        self, tensor: Tensor, group: Any | None = None, sync_grads: bool = False
    ) -> Tensor:
        """Gather a tensor of all processes."""

    @plain
    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Agree on a decision.

        Args:
            all: All processes have to say yes; else one is enough.
        """
        return decision

    # State.

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """Whether a checkpoint is read after `setup` instead of before."""
        return False

    @property
    def lightning_restore_optimizer(self) -> bool:
        """Whether the trainer restores the optimizers."""
        return True

    @property
    def saves_alone(self) -> bool:
        """Whether the first process can write a checkpoint when others are gone."""
        return True

    @property
    def handles_gradient_accumulation(self) -> bool:
        """Whether the strategy counts the batches between two steps itself."""
        return False

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The weights for a checkpoint."""
        assert self._lightning_module is not None, "connect() comes first"
        state: dict[str, Any] = self._lightning_module.state_dict()
        return state

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Take the weights of a checkpoint."""
        assert self._lightning_module is not None, "connect() comes first"
        self._lightning_module.load_state_dict(checkpoint["state_dict"], strict=strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of one optimizer for a checkpoint."""
        return optimizer.state_dict()

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Take the states of the optimizers of a checkpoint."""
        load_optimizer_states(self.optimizers, checkpoint["optimizer_states"])
        move_optimizers(self.optimizers, self.root_device)

    # The end.

    def teardown(self) -> None:
        """Bring the module and the optimizers home, and end the parts."""
        move_optimizers(self.optimizers, torch.device("cpu"))
        if self._lightning_module is not None:
            self._lightning_module.cpu()
        self.precision_plugin.teardown()
        if self.accelerator is not None:
            self.accelerator.teardown()
        self.checkpoint_io.teardown()

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Put the strategy into the registry under its names."""
