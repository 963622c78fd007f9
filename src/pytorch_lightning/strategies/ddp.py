"""One copy of the module per process; gradients are averaged."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.distributed.process_group import DEFAULT_TIMEOUT
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.strategy import NOTHING


class DDPStrategy(ParallelStrategy):
    """Distributed data parallel training."""

    strategy_name = "ddp"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
        process_group_backend: str | None = None,
        timeout: timedelta | None = DEFAULT_TIMEOUT,
        start_method: Literal["popen", "spawn", "fork", "forkserver"] = "popen",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            accelerator, parallel_devices, cluster_environment, checkpoint_io, precision_plugin
        )
        self.process_group_backend = process_group_backend
        self.timeout = timeout if timeout is not None else DEFAULT_TIMEOUT
        self._start_method = start_method
        self._ddp_kwargs = kwargs

    def configure_launcher(self) -> None:
        """Nothing is started yet."""

    def model_to_device(self) -> None:
        """Move the module to the device of this process."""
        if self.model is not None:
            self.module_to_device(self.model)

    def setup(self, trainer: Any) -> None:
        """Place the module, wrap it for training."""
        super().setup(trainer)
        if trainer.state.fn == "fit":
            assert self.model is not None
            self.model = self.setup_module(self.model)

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Wrap a module, so that backward averages the gradients of all processes."""
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        device = self.root_device
        ids = None if device.type == "cpu" else [device.index]
        return DistributedDataParallel(module, device_ids=ids, **self._ddp_kwargs)

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `training_step` through the wrapper, which prepares the exchange."""
        module, wrapper = self._lightning_module, self.model
        assert module is not None and wrapper is not None
        with self.precision_plugin.train_step_context():
            if not isinstance(wrapper, DistributedDataParallel):
                return module.training_step(*args, **kwargs)
            return _redirected(wrapper, module, module.training_step, *args, **kwargs)

    def block_backward_sync(self) -> AbstractContextManager[Any]:
        """A context in which gradients are accumulated without being exchanged."""
        wrapper = self.model
        return wrapper.no_sync() if isinstance(wrapper, DistributedDataParallel) else NOTHING

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `ddp`."""
        strategy_registry.register("ddp", cls, description=cls.__name__)


def _redirected(wrapper: nn.Module, module: nn.Module, method: Any, *args: Any, **kw: Any) -> Any:
    """Call a method of a module through its wrapper, which only knows `forward`."""

    def forward_once(*inputs: Any, **options: Any) -> Any:
        module.__dict__.pop("forward", None)
        return method(*inputs, **options)

    module.__dict__["forward"] = forward_once
    try:
        return wrapper(*args, **kw)
    finally:
        module.__dict__.pop("forward", None)
