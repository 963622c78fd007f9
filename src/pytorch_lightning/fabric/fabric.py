"""The verbs of a training loop, for loops that are written by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.core.attachment import attach
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.distributed.launchers import MultiprocessingLauncher
from pytorch_lightning.fabric.clipping import clip
from pytorch_lightning.fabric.resolve import Plugin, resolve
from pytorch_lightning.fabric.session import FabricSession, do_nothing
from pytorch_lightning.fabric.state import Filter, apply_filter, check_filter, fill, pack, unpack
from pytorch_lightning.fabric.wrappers import (
    FabricModule,
    FabricOptimizer,
    is_wrapped,
    prepare_loader,
    ranks_of,
    refuse_wrapped,
    unwrap,
)
from pytorch_lightning.strategies import ParallelStrategy, Strategy
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.seed import seed_everything
from pytorch_lightning.utilities.tree import map_leaves, move_data_to_device

_Broadcast = TypeVar("_Broadcast")


class Fabric:
    """Devices, precision and processes for a loop that you write yourself.

    Example::

        fabric = Fabric(precision="bf16-mixed")
        fabric.launch()
        model, optimizer = fabric.setup(model, optimizer)
        loader = fabric.setup_dataloaders(loader)
        for batch in loader:
            loss = model(batch).mean()
            fabric.backward(loss)
            optimizer.step()
            optimizer.zero_grad()

    Args:
        plugins: A Precision, a CheckpointIO, a ClusterEnvironment, or a list of them.
        callbacks: Objects whose methods `call` calls.
        loggers: Where `log` and `log_dict` write.
    """

    def __init__(
        self,
        *,
        accelerator: str | Accelerator = "auto",
        strategy: str | Strategy = "auto",
        devices: list[int] | str | int = "auto",
        num_nodes: int = 1,
        precision: str | int | None = None,
        plugins: Plugin | Sequence[Plugin] | None = None,
        callbacks: list[Any] | Any | None = None,
        loggers: Any | list[Any] | None = None,
    ) -> None:
        parts = resolve(
            accelerator=accelerator,
            strategy=strategy,
            devices=devices,
            num_nodes=num_nodes,
            precision=precision,
            plugins=plugins,
        )
        self._strategy = parts.strategy
        self._accelerator = parts.accelerator
        self._precision = parts.precision
        self._callbacks = _as_list(callbacks)
        self._loggers = _as_list(loggers)
        self._launched = not isinstance(self._strategy, ParallelStrategy)
        if self._launched:
            self._strategy.setup_environment()

    # Who am I.

    @property
    def accelerator(self) -> Accelerator:
        """The kind of device."""
        return self._accelerator

    @property
    def strategy(self) -> Strategy:
        """How modules are spread."""
        return self._strategy

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._strategy.root_device

    @property
    def global_rank(self) -> int:
        """The rank among all processes."""
        return self._strategy.global_rank

    @property
    def local_rank(self) -> int:
        """The rank among the processes of this node."""
        return self._strategy.local_rank

    @property
    def node_rank(self) -> int:
        """The rank of this node."""
        return self._strategy.node_rank

    @property
    def world_size(self) -> int:
        """The number of processes."""
        return self._strategy.world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this process has rank 0."""
        return self._strategy.is_global_zero

    @property
    def loggers(self) -> list[Any]:
        """All loggers."""
        return self._loggers

    @property
    def logger(self) -> Any:
        """The first logger."""
        if not self._loggers:
            raise IndexError("There is no logger. Pass one: Fabric(loggers=...).")
        return self._loggers[0]

    # Set-up.

    def launch(self, function: Callable[..., Any] = do_nothing, *args: Any, **kwargs: Any) -> Any:
        """Start the processes; with a function, run it in each, with this object as first argument.

        Returns:
            What the function returned.
        """
        if not callable(function):
            raise TypeError(
                f"`launch({function!r})`: pass a function: launch(train), not launch(train())."
            )
        if not inspect.signature(function).parameters:
            raise TypeError(
                f"`launch({getattr(function, '__name__', function)})`: the function must take the "
                "Fabric object as its first argument."
            )
        launcher = self._strategy.launcher
        if launcher is None or self._launched:
            return self._enter(function, *args, **kwargs)
        if function is do_nothing and isinstance(launcher, MultiprocessingLauncher):
            raise TypeError(
                "`launch()`: the processes that this strategy starts need a function to run: put "
                "the program into one and call `fabric.launch(train)`."
            )
        return launcher.launch(self._enter, function, *args, **kwargs)

    def _enter(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """In each process: meet the others, then run the function."""
        if not self._launched:
            self._strategy.setup_environment()
            self._launched = True
        return function(self, *args, **kwargs)

    def _check_launched(self, verb: str) -> None:
        if not self._launched:
            raise RuntimeError(
                f"`fabric.{verb}()` before `fabric.launch()`: with several processes call "
                "`launch()` first, so that they find each other."
            )

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Run the whole program; a place for subclasses."""

    def setup(
        self,
        module: nn.Module,
        *optimizers: Optimizer,
        scheduler: Any | None = None,
        move_to_device: bool = True,
        _reapply_compile: bool = True,
    ) -> Any:
        """Set up a module and its optimizers together.

        Args:
            scheduler: Returned as the last one.
            move_to_device: Move the module to the device; False leaves that to you.

        Returns:
            The module, or a tuple of the module, the optimizers and the scheduler.
        """
        for optimizer in optimizers:
            refuse_wrapped(optimizer, "An optimizer", "setup")
        wrapped = self._wrap_module(module, "setup", move_to_device)
        steppers = [self._wrap_optimizer(one, unwrap(module)) for one in optimizers]
        self._finish(wrapped, steppers)
        if not optimizers and scheduler is None:
            return wrapped
        return (wrapped, *steppers, *([] if scheduler is None else [scheduler]))

    def setup_module(
        self, module: nn.Module, move_to_device: bool = True, _reapply_compile: bool = True
    ) -> FabricModule:
        """Set up a module alone."""
        wrapped = self._wrap_module(module, "setup_module", move_to_device)
        self._finish(wrapped, [])
        return wrapped

    def setup_optimizers(
        self, *optimizers: Optimizer
    ) -> FabricOptimizer | tuple[FabricOptimizer, ...]:
        """Set up optimizers alone, after their module."""
        if not optimizers:
            raise ValueError("`setup_optimizers()`: pass at least one optimizer.")
        for optimizer in optimizers:
            refuse_wrapped(optimizer, "An optimizer", "setup_optimizers")
        wrapped = tuple(self._wrap_optimizer(one, None) for one in optimizers)
        return wrapped if len(wrapped) > 1 else wrapped[0]

    def setup_dataloaders(
        self,
        *dataloaders: DataLoader[Any],
        use_distributed_sampler: bool = True,
        move_to_device: bool = True,
    ) -> Any:
        """Set up loaders, so that batches arrive on the device.

        Args:
            use_distributed_sampler: Deal the samples to the processes where there are several.

        Returns:
            The loader, or a list of them.
        """
        if not dataloaders:
            raise ValueError("`setup_dataloaders()`: pass at least one loader.")
        self._check_launched("setup_dataloaders")
        strategy = self._strategy
        ranks = ranks_of(strategy, deals=use_distributed_sampler)
        device = self.device if move_to_device else None
        wrapped = [prepare_loader(loader, strategy, ranks, device) for loader in dataloaders]
        return wrapped if len(wrapped) > 1 else wrapped[0]

    def _wrap_module(self, module: nn.Module, verb: str, move_to_device: bool) -> FabricModule:
        refuse_wrapped(module, "A module", verb)
        self._check_launched(verb)
        original = getattr(module, "_orig_mod", module)
        converted = self._precision.convert_module(original)
        ready = module if converted is original else converted  # compiled ones stay compiled
        if move_to_device:
            self._strategy.module_to_device(ready)
        return FabricModule(self._strategy.setup_module(ready), self._strategy, original)

    def _wrap_optimizer(self, optimizer: Optimizer, module: nn.Module | None) -> FabricOptimizer:
        self._check_launched("setup_optimizers")
        optimizer = self._strategy.setup_optimizer(optimizer)
        owner = module if module is not None else nn.Module()
        self._precision.connect(owner, [optimizer], [])
        return FabricOptimizer(optimizer, self._strategy, self._hooks("on_after_optimizer_step"))

    def _finish(self, wrapped: FabricModule, optimizers: list[FabricOptimizer]) -> None:
        original = wrapped.module
        if isinstance(original, LightningModule):
            original.fabric = self
            attach(original, None, FabricSession(self, optimizers))
        self.call("on_after_setup", fabric=self, module=wrapped)

    # One step.

    def backward(
        self, tensor: Tensor, *args: Any, model: FabricModule | None = None, **kwargs: Any
    ) -> None:
        """Compute the gradients; replaces `loss.backward()`."""
        if model is not None and not isinstance(model, FabricModule):
            raise TypeError(
                f"`backward(model={type(model).__name__})`: pass what `fabric.setup` returned."
            )
        self._strategy.backward(tensor, None, *args, **kwargs)

    def clip_gradients(
        self,
        module: nn.Module | FabricModule,
        optimizer: Optimizer | FabricOptimizer,
        clip_val: float | int | None = None,
        max_norm: float | int | None = None,
        norm_type: float | int = 2.0,
        error_if_nonfinite: bool = True,
    ) -> Tensor | None:
        """Clip by value or by norm.

        Args:
            clip_val: The largest element that is left.
            max_norm: The largest norm that is left.

        Returns:
            The norm before, when clipped by norm.
        """
        return clip(
            self._precision,
            unwrap(optimizer),
            clip_val,
            max_norm,
            norm_type=norm_type,
            error_if_nonfinite=error_if_nonfinite,
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """A context in which operations outside `forward` run in the precision of the run."""
        return self._precision.forward_context()

    def no_backward_sync(
        self, module: FabricModule, enabled: bool = True
    ) -> AbstractContextManager[Any]:
        """A context in which gradients are accumulated without being exchanged."""
        if not (isinstance(module, nn.Module) and is_wrapped(module)):
            raise TypeError(
                "`no_backward_sync`: pass the module that `fabric.setup(module)` returned."
            )
        if not enabled:
            return nullcontext()
        return self._strategy.no_backward_sync(module._forward_module)

    def init_tensor(self) -> AbstractContextManager[Any]:
        """A context in which new tensors are on the device and in the precision."""
        return self._strategy.tensor_init_context()

    def init_module(self, empty_init: bool | None = None) -> AbstractContextManager[Any]:
        """A context in which new modules are on the device and in the precision.

        Args:
            empty_init: Leave parameters uninitialized, where a checkpoint follows.
        """
        return self._strategy.module_init_context(empty_init=empty_init)

    def to_device(self, obj: Any) -> Any:
        """Move a module, a tensor or a tree of tensors to the device."""
        if isinstance(obj, nn.Module):
            self._strategy.module_to_device(obj)
            return obj
        return move_data_to_device(obj, self.device)

    # Several processes.

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on one process of each node."""
        if self.local_rank == 0:
            print(*args, **kwargs)

    def barrier(self, name: str | None = None) -> None:
        """Wait for all processes."""
        self._strategy.barrier(name)

    def broadcast(self, obj: _Broadcast, src: int = 0) -> _Broadcast:
        """Give an object of one process to all."""
        return self._strategy.broadcast(obj, src)

    def all_gather(self, data: Any, group: Any | None = None, sync_grads: bool = False) -> Any:
        """Gather tensors or numbers, or trees of them, of all processes."""
        return map_leaves(
            self._as_tensors(data),
            Tensor,
            lambda tensor: self._strategy.all_gather(tensor, group=group, sync_grads=sync_grads),
        )

    def all_reduce(self, data: Any, group: Any | None = None, reduce_op: Any = "mean") -> Any:
        """Reduce tensors or numbers, or trees of them, over all processes."""
        return map_leaves(
            self._as_tensors(data),
            Tensor,
            lambda tensor: self._strategy.reduce(tensor, group=group, reduce_op=reduce_op),
        )

    def _as_tensors(self, data: Any) -> Any:
        data = map_leaves(data, int | float, lambda v: torch.tensor(v, device=self.device))
        return map_leaves(data, Tensor, lambda tensor: tensor.to(self.device))

    @contextmanager
    def rank_zero_first(self, local: bool = False) -> Iterator[None]:
        """A context that rank 0 passes before the others enter.

        Args:
            local: The first rank of each node goes first.
        """
        rank = self.local_rank if local else self.global_rank
        if rank > 0:
            self.barrier()
        yield
        if rank == 0:
            self.barrier()

    # Files.

    def save(
        self,
        path: str | Path,
        state: dict[str, Any],
        filter: dict[str, Callable[[str, Any], bool]] | None = None,
    ) -> None:
        """Save modules, optimizers and values.

        Args:
            filter: By name in `state`, a function of key and value that says what is saved.
        """
        chosen: Filter = filter or {}
        check_filter(state, chosen)
        packed = apply_filter(pack(state, self._strategy), chosen)
        self._strategy.make_room(path)
        self._strategy.save_checkpoint(packed, path)
        self.barrier()

    def load(
        self,
        path: str | Path,
        state: dict[str, Any] | None = None,
        strict: bool = True,
        *,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Load a file into the objects of `state`, in place.

        Args:
            strict: Refuse a file in which an entry of `state`, or a weight, is missing.

        Returns:
            What was in the file and not in `state`.
        """
        loaded = self._strategy.load_checkpoint(path, weights_only=weights_only)
        self.barrier()
        return loaded if state is None else unpack(loaded, state, strict, self._strategy)

    def load_raw(
        self,
        path: str | Path,
        obj: nn.Module | Optimizer,
        strict: bool = True,
        *,
        weights_only: bool | None = None,
    ) -> None:
        """Load a file that holds just the state of one module or optimizer."""
        saved = self._strategy.load_checkpoint(path, weights_only=weights_only)
        fill(obj, saved, strict, self._strategy)

    # Callbacks and loggers.

    def _hooks(self, hook_name: str) -> list[Callable[..., Any]]:
        found = []
        for callback in self._callbacks:
            method = getattr(callback, hook_name, None)
            if method is None:
                continue
            if callable(method):
                found.append(method)
            else:
                rank_zero_warn(
                    f"`{type(callback).__name__}.{hook_name}` is no method; it is not called."
                )
        return found

    def call(self, hook_name: str, *args: Any, **kwargs: Any) -> None:
        """Call a method of every callback that has it."""
        for method in self._hooks(hook_name):
            method(*args, **kwargs)

    def log(self, name: str, value: Any, step: int | None = None) -> None:
        """Send one value to all loggers."""
        self.log_dict({name: value}, step=step)

    def log_dict(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send values to all loggers."""
        if not self._loggers:
            return
        plain = {name: v.item() if isinstance(v, Tensor) else v for name, v in metrics.items()}
        for logger in self._loggers:
            logger.log_metrics(metrics=plain, step=step)

    @staticmethod
    def seed_everything(
        seed: int | None = None, workers: bool | None = None, verbose: bool = True
    ) -> int:
        """Seed Python, NumPy and torch."""
        return seed_everything(seed, workers=bool(workers), verbose=verbose)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
