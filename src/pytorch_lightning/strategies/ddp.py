"""One copy of the module per process; gradients are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.checkpoint.io import CheckpointIO
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.distributed.process_group import DEFAULT_TIMEOUT
from pytorch_lightning.precision import Precision
from pytorch_lightning.strategies.averaging import (
    Removable,
    agree_on_losses,
    average_weights_periodically,
    is_local_sgd,
    register_comm_hook,
)
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.strategies.registry import Registry
from pytorch_lightning.strategies.route import NoExchange, Route, unfinished
from pytorch_lightning.strategies.strategy import NOTHING
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain, plain
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

_NAMES = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}
_STARTS = ("popen", "spawn", "fork", "forkserver")


class DDPStrategy(ParallelStrategy):
    """Distributed data parallel training.

    Args:
        ddp_comm_state: Given to the hook on each call.
        ddp_comm_hook: Exchanges a bucket of gradients instead of the mean of all.
        ddp_comm_wrapper: Makes another hook of the hook, as `fp16_compress_wrapper` does.
        model_averaging_period: Steps between two averages of the weights, for local SGD.
        kwargs: Of `torch.nn.parallel.DistributedDataParallel`.
    """

    strategy_name = "ddp"

    def __init__(
        self,
        accelerator: Accelerator | None = None,
        parallel_devices: list[torch.device] | None = None,
        cluster_environment: ClusterEnvironment | None = None,
        checkpoint_io: CheckpointIO | None = None,
        precision_plugin: Precision | None = None,
        ddp_comm_state: object | None = None,
        ddp_comm_hook: Callable[..., Any] | None = None,
        ddp_comm_wrapper: Callable[..., Any] | None = None,
        model_averaging_period: int | None = None,
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
        self._defaults: dict[str, Any] = {}
        self._comm_state = ddp_comm_state
        self._comm_hook = ddp_comm_hook
        self._comm_wrapper = ddp_comm_wrapper
        self._averaging_period = model_averaging_period
        self._check_arguments()
        self._route: Route | None = None
        self._no_exchange: AbstractContextManager[Any] = NOTHING
        self._handles: list[Removable] = []
        self._in_ddp: set[nn.Parameter] = set()
        self._frozen: list[nn.Parameter] = []
        self._manual = self._has_context = self._exchanged = self._stale = False

    def _check_arguments(self) -> None:
        if self._start_method not in _STARTS:
            raise ValueError(
                f"`start_method={self._start_method!r}`: pass one of "
                f"{', '.join(map(repr, _STARTS))}."
            )
        if "mixed_precision" in self._ddp_kwargs:
            raise MisconfigurationException(
                "`mixed_precision`: choose the precision by `Trainer(precision=...)`."
            )
        local = is_local_sgd(self._comm_state)
        if local and self._averaging_period is None:
            raise ValueError(
                "`ddp_comm_state=PostLocalSGDState(...)` lets the processes train apart: pass "
                "`model_averaging_period=`, the steps after which their weights are averaged."
            )
        if self._averaging_period is not None and not local:
            raise ValueError(
                f"`model_averaging_period={self._averaging_period}` belongs to local SGD: pass "
                "`ddp_comm_state=PostLocalSGDState(...)` and `post_localSGD_hook` too."
            )
        if self._comm_hook is None and (self._comm_state or self._comm_wrapper) is not None:
            raise ValueError(
                "`ddp_comm_state` and `ddp_comm_wrapper` belong to a hook: pass `ddp_comm_hook=`."
            )

    @property
    def is_distributed(self) -> bool:
        """It is."""
        return True

    # Set-up.

    def setup(self, trainer: Any) -> None:
        """Place the module, wrap it for training."""
        super().setup(trainer)
        if trainer.state.fn == "fit":
            self.configure_ddp()
            self._handles += agree_on_losses(self.optimizers)
            if self._manual and self._route is not None:
                self._handles += [
                    optimizer.register_step_pre_hook(self._check_exchanged)
                    for optimizer in self.optimizers
                    if isinstance(optimizer, Optimizer)
                ]
            if self._averaging_period is not None:
                self._handles += average_weights_periodically(
                    self.optimizers, self._comm_state, self._averaging_period
                )

    def model_to_device(self) -> None:
        """Move the module to the device of this process."""
        if self.model is not None:
            self.module_to_device(self.model)

    def configure_ddp(self) -> None:
        """Wrap the module for training."""
        module = self._lightning_module
        assert module is not None and self.model is not None, "connect() comes first"
        self._manual = not module.automatic_optimization
        self._has_context = not is_plain(
            self.precision_plugin, "train_step_context", "forward_context"
        )
        if len(self.optimizers) > 1 and not self._manual:
            # Each step trains the parameters of one optimizer, the others are frozen.
            self._defaults = {"find_unused_parameters": True}
        self._wrap(self.model)

    def _wrap(self, module: nn.Module) -> None:
        self.model = wrapper = self.setup_module(module)
        parameters = list(module.parameters())
        self._in_ddp = {parameter for parameter in parameters if parameter.requires_grad}
        self._frozen = [parameter for parameter in parameters if not parameter.requires_grad]
        self._route, self._no_exchange, self._stale = None, NOTHING, False
        if isinstance(wrapper, DistributedDataParallel):
            self._route, self._no_exchange = Route(wrapper, module), NoExchange(wrapper)

    def setup_module(self, module: nn.Module) -> nn.Module:
        """Wrap a module, so that backward averages the gradients of all processes."""
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        wrapper = DistributedDataParallel(
            module,
            device_ids=self.determine_ddp_device_ids(),
            **{**self._defaults, **self._ddp_kwargs},
        )
        hook = self._comm_hook
        if hook is not None:
            name = getattr(hook, "__name__", repr(hook))
            if self._comm_wrapper is not None:
                hook = self._comm_wrapper(hook)
            register_comm_hook(wrapper, self._comm_state, hook, name)
        return wrapper

    def call_method(
        self, wrapped: nn.Module, method: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Call another method than `forward`; it prepares the exchange where it needs one."""
        if not isinstance(wrapped, DistributedDataParallel):
            return method(*args, **kwargs)
        return Route(wrapped, wrapped.module).in_training(method, *args, **kwargs)

    def no_backward_sync(self, wrapped: nn.Module) -> AbstractContextManager[Any]:
        """A context in which a wrapped module accumulates gradients unexchanged, for Fabric."""
        return NoExchange(wrapped) if isinstance(wrapped, DistributedDataParallel) else NOTHING

    def determine_ddp_device_ids(self) -> list[int] | None:
        """The `device_ids` of the wrapper: the device of this process, None on the CPU."""
        device = self.root_device
        return None if device.type == "cpu" or device.index is None else [device.index]

    # One batch.

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module's `training_step` through the wrapper, which prepares the exchange."""
        module, route = self._lightning_module, self._route
        assert module is not None, "connect() comes first"
        if self._has_context:
            with self.precision_plugin.train_step_context():
                return self._step(module.training_step, args, kwargs)
        if route is None or self._manual:
            return self._step(module.training_step, args, kwargs)
        return route(module.training_step, *args, **kwargs)

    def _step(self, step: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        route = self._route
        if route is None:
            return step(*args, **kwargs)
        if not self._manual:
            return route(step, *args, **kwargs)
        # Each backward is one turn of the wrapper; what belongs to the step is done here.
        route.wrapper.require_forward_param_sync = True
        with torch.no_grad():
            route(_nothing)
        return step(*args, **kwargs)

    @plain  # of its own it only does something in manual optimization, which always calls it
    def backward(
        self, closure_loss: Tensor, optimizer: Optimizer | None, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the gradients, and the mean of all processes.

        Returns:
            The loss as the precision leaves it.
        """
        route = self._route
        if route is not None and self._manual:
            self._exchanged = True
            route.wrapper.require_forward_param_sync = False  # buffers travel once a step
            closure_loss = route(lambda: closure_loss)
        return super().backward(closure_loss, optimizer, *args, **kwargs)

    def _check_exchanged(self, *_: object) -> None:
        """Before the steps of manual optimization: was anything exchanged at all?"""
        if not self._exchanged:
            self._exchanged = True
            rank_zero_warn(
                "An optimizer steps, but `self.manual_backward(loss)` was never called: "
                "`loss.backward()` exchanges no gradients, and each process trains on its own."
            )

    def step_of_nothing(self, *args: Any) -> None:
        """Go through the wrapper, which shares buffers there."""
        if self._route is not None:
            self._route(_nothing)

    def exchange_nothing(self) -> None:
        """Go through a backward of zeros."""
        route = self._route
        if route is None:
            return
        route.wrapper.require_forward_param_sync = False  # the forward of this step did it
        route(self._zero).backward()
        if self.root_device.type != "cpu":
            torch.accelerator.synchronize()

    def _zero(self) -> Tensor:
        """A sum of no effect, over all parameters that take part in the exchange."""
        assert self._route is not None
        wrapper = self._route.wrapper
        trained = [p for p in wrapper.module.parameters() if p.requires_grad]
        if wrapper.find_unused_parameters:  # so that the others stay unused here
            trained = trained[:1]
        return torch.stack([(parameter * 0).sum().float() for parameter in trained]).sum()

    def block_backward_sync(self) -> AbstractContextManager[Any]:
        """A context in which gradients are accumulated without being exchanged."""
        return self._no_exchange

    @contextmanager
    def run_alone(self) -> Iterator[None]:
        """A context in which steps of this process go past the wrapper, with no exchange at all."""
        route, self._route = self._route, None
        if route is not None and route.wrapper.find_unused_parameters:
            self._stale = True  # the wrapper notes what backward reaches here, for its next turn
        try:
            yield
        finally:
            self._route = route

    # What may change on the way.

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Wrap anew where parameters were frozen or unfrozen since."""
        if batch_idx == 0 or (self._frozen and any(p.requires_grad for p in self._frozen)):
            self._follow_parameters()

    def _follow_parameters(self) -> None:
        module = self._route.wrapper.module if self._route is not None else self.model
        assert module is not None, "setup() comes first"
        trained = {parameter for parameter in module.parameters() if parameter.requires_grad}
        if trained == self._in_ddp and not self._stale:
            return
        known = self._in_ddp.union(self._frozen)
        new = [name for name, p in module.named_parameters() if p not in known]
        if new:
            raise MisconfigurationException(
                f"These parameters were made after training began, and the processes do not share "
                f"them: {', '.join(map(repr, new[:5]))}. Make them in `__init__` or "
                "`configure_model`."
            )
        self._unwrap()
        self._wrap(module)

    def _unwrap(self) -> None:
        """Take the wrapper off, and what it hung on the parameters."""
        if self._route is None:
            return
        wrapper = self._route.wrapper
        # else they act until the wrapper is collected
        wrapper._remove_autograd_hooks()  # type: ignore[no-untyped-call]  # of torch
        self.model, self._route, self._no_exchange = wrapper.module, None, NOTHING

    # State.

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """The state of one optimizer for a checkpoint, gathered where it is spread."""
        gather = getattr(optimizer, "consolidate_state_dict", None)  # ZeroRedundancyOptimizer
        if gather is None:
            return super().optimizer_state(optimizer)
        gather(to=0)
        return optimizer.state_dict() if self.is_global_zero else {}

    # The end.

    def on_train_end(self) -> None:
        """Make sure that the last backward averaged all gradients too."""
        if self._route is None or not self._route.wrapper.require_backward_grad_sync:
            return
        try:
            self._route.wrapper._check_reducer_finalized()  # type: ignore[no-untyped-call]  # of torch
        except RuntimeError as error:
            raise RuntimeError(unfinished(self._route.wrapper)) from error

    def teardown(self) -> None:
        """Bring the bare module home."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._unwrap()
        self._in_ddp, self._frozen, self._defaults = set(), [], {}
        self._exchanged = False
        super().teardown()

    @classmethod
    def register_strategies(cls, strategy_registry: Registry) -> None:
        """Register `ddp` and its variants."""
        for name, start in _NAMES.items():
            about = f"DDP, started by {start!r}"
            strategy_registry.register(name, cls, description=about, start_method=start)
            for flag in (False, True):
                strategy_registry.register(
                    f"{name}_find_unused_parameters_{str(flag).lower()}",
                    cls,
                    description=f"{about}, `find_unused_parameters={flag}`",
                    start_method=start,
                    find_unused_parameters=flag,
                )


def _nothing() -> None:
    """Stand in for a step."""
