"""What `Fabric.setup` returns: module, optimizer and loader with the verbs built in."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from pytorch_lightning.data.dealing import Ranks
from pytorch_lightning.data.indices import samplers_of
from pytorch_lightning.data.workers import StartWorker
from pytorch_lightning.strategies import Strategy
from pytorch_lightning.utilities.environ import read_int
from pytorch_lightning.utilities.plain_mark import is_plain

_STEPS = ("training_step", "validation_step", "test_step", "predict_step")


class FabricModule(nn.Module):
    """A module whose `forward` runs in the precision and under the strategy of Fabric.

    Everything else reaches the module inside: attributes, methods, the state dictionary.
    """

    def __init__(
        self,
        forward_module: nn.Module,
        strategy: Strategy,
        original_module: nn.Module | None = None,
    ) -> None:
        super().__init__()
        own = self.__dict__  # past nn.Module.__setattr__, which would register a second child
        own["_original_module"] = original_module if original_module is not None else forward_module
        own["_strategy"] = strategy
        own["_forward_methods"] = set(_STEPS)
        own["_direct"] = is_plain(
            strategy.precision_plugin, "convert_input", "forward_context", "convert_output"
        )
        self._forward_module = forward_module

    @property
    def module(self) -> nn.Module:
        """The module as it was given to `setup`."""
        original: nn.Module = self.__dict__["_original_module"]
        return original

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        first = next(self.module.parameters(), None)
        root: torch.device = self._strategy.root_device
        return root if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the first floating point parameter."""
        found = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        return next(found, torch.get_default_dtype())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module in the precision of the run."""
        return self._in_precision(self._forward_module, *args, **kwargs)

    def _in_precision(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._direct:
            return function(*args, **kwargs)
        precision = self._strategy.precision_plugin
        args, kwargs = precision.convert_input((args, kwargs))
        with precision.forward_context():
            output = function(*args, **kwargs)
        return precision.convert_output(output)

    def mark_forward_method(self, method: Callable[..., Any] | str) -> None:
        """Let another method run the way `forward` does."""
        name = method if isinstance(method, str) else method.__name__
        if name == "forward":
            raise ValueError("`mark_forward_method('forward')`: `forward` is one already.")
        if not callable(getattr(self.module, name, None)):
            raise AttributeError(
                f"`mark_forward_method({name!r})`: {type(self.module).__name__} has no such method."
            )
        self._forward_methods.add(name)

    def state_dict(  # type: ignore[override]  # torch overloads it by `destination`
        self, *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The state of the module inside, under its own names."""
        state: dict[str, Any] = self.module.state_dict(*args, **kwargs)
        return state

    def load_state_dict(  # type: ignore[override]  # the documented signature
        self, state_dict: Mapping[str, Any], strict: bool = True, **kwargs: Any
    ) -> Any:
        """Give the module inside its state."""
        if kwargs:
            return self.module.load_state_dict(state_dict, strict=strict, **kwargs)
        return self._strategy.restore_module(self.module, state_dict, strict)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            original = self.__dict__.get("_original_module")
            if original is None:
                raise
        value = getattr(original, name)
        if name in self.__dict__["_forward_methods"] and callable(value):
            strategy: Strategy = self.__dict__["_strategy"]
            if not is_plain(strategy, "call_method"):
                value = partial(strategy.call_method, self._forward_module, value)
            return partial(self._in_precision, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        original = self.__dict__.get("_original_module")
        mine = name in self.__dict__ or hasattr(type(self), name) or name == "_forward_module"
        if original is not None and not mine and hasattr(original, name):
            setattr(original, name, value)
        else:
            super().__setattr__(name, value)


class FabricOptimizer:
    """An optimizer whose `step` goes through precision and strategy.

    It answers `isinstance` for the class of the optimizer inside, so schedulers take it.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        strategy: Strategy,
        callbacks: list[Callable[..., Any]] | None = None,
    ) -> None:
        own = self.__dict__
        own["_optimizer"] = optimizer
        own["_strategy"] = strategy
        own["_after_step"] = list(callbacks or [])

    @property  # type: ignore[misc]  # isinstance() asks for it
    def __class__(self) -> type:
        return type(self.__dict__["_optimizer"])

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer as it was given to `setup`."""
        inside: Optimizer = self.__dict__["_optimizer"]
        return inside

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step; the closure, if any, computes the gradients."""
        own = self.__dict__
        optimizer, strategy = own["_optimizer"], own["_strategy"]
        result = strategy.optimizer_step(optimizer, closure)
        for after in own["_after_step"]:
            after(strategy=strategy, optimizer=optimizer)
        return result

    def state_dict(self) -> dict[str, Any]:
        """The state, whole, as the strategy sees it."""
        own = self.__dict__
        state: dict[str, Any] = own["_strategy"].optimizer_state(own["_optimizer"])
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Give the optimizer inside its state."""
        self.__dict__["_strategy"].restore_optimizer(self.optimizer, state_dict)

    def __getattr__(self, name: str) -> Any:
        if "_optimizer" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "step" or name in self.__dict__:  # schedulers count calls of `step` this way
            self.__dict__[name] = value
        else:
            setattr(self.optimizer, name, value)

    def __reduce__(self) -> Any:
        own = self.__dict__
        return FabricOptimizer, (own["_optimizer"], own["_strategy"], own["_after_step"])

    def __repr__(self) -> str:
        return f"Fabric{self.optimizer!r}"


class FabricDataLoader:
    """A loader whose batches arrive on the device."""

    def __init__(
        self,
        dataloader: DataLoader[Any],
        device: torch.device | None = None,
        strategy: Strategy | None = None,
    ) -> None:
        self._dataloader = dataloader
        self._device = device
        self._strategy = strategy
        self._num_passes = 0

    @property
    def device(self) -> torch.device | None:
        """Where batches go; None leaves them where they are."""
        return self._device

    def __len__(self) -> int:
        return len(self._dataloader)

    def __iter__(self) -> Iterator[Any]:
        self._announce_epoch()
        if self._device is None or self._strategy is None:
            yield from self._dataloader
            return
        move, device = self._strategy.batch_to_device, self._device
        for batch in self._dataloader:
            yield move(batch, device)

    def _announce_epoch(self) -> None:
        """Tell samplers that shuffle by epoch which pass this is."""
        for sampler in samplers_of(self._dataloader):
            set_epoch = getattr(sampler, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(self._num_passes)
        self._num_passes += 1

    def __getattr__(self, name: str) -> Any:
        if name == "_dataloader":
            raise AttributeError(name)
        return getattr(self._dataloader, name)


def with_apart_seeds(loader: DataLoader[Any], rank: int) -> DataLoader[Any]:
    """Seed the workers as `seed_everything(workers=True)` asks, in a copy of the loader."""
    if loader.num_workers == 0 or loader.worker_init_fn is not None:
        return loader
    start = StartWorker(None, rank=rank)
    if not start.seeds_apart:
        return loader
    seeded = copy.copy(loader)
    seeded.worker_init_fn = start
    return seeded


def is_wrapped(obj: object) -> bool:
    """Whether Fabric already set this object up; a compiled module is looked into."""
    inside = getattr(obj, "_orig_mod", obj) if isinstance(obj, nn.Module) else obj
    return isinstance(inside, FabricModule | FabricOptimizer | FabricDataLoader)


def unwrap(obj: Any) -> Any:
    """The object as it was given to `setup`."""
    if isinstance(obj, nn.Module):
        obj = getattr(obj, "_orig_mod", obj)
    if isinstance(obj, FabricModule):
        return obj.module
    if isinstance(obj, FabricOptimizer):
        return obj.optimizer
    if isinstance(obj, FabricDataLoader):
        return obj._dataloader
    return obj


def refuse_wrapped(obj: object, what: str, verb: str) -> None:
    """Refuse an object that Fabric already set up."""
    if is_wrapped(obj):
        raise ValueError(f"`{verb}`: {what.lower()} was set up already; pass it only once.")


def ranks_of(strategy: Strategy, *, deals: bool) -> Ranks:
    """Who reads which part of the data; ranks that deal agree on the seed of rank 0."""
    world = strategy.data_world
    agrees = deals and world > 1
    seed = strategy.broadcast(read_int("PL_GLOBAL_SEED") or 0) if agrees else None
    return Ranks(strategy.data_rank, world, deals=deals, seed=seed)


def prepare_loader(
    loader: DataLoader[Any], strategy: Strategy, ranks: Ranks, device: torch.device | None
) -> FabricDataLoader:
    """Deal a loader to the ranks, and let its batches arrive on the device."""
    refuse_wrapped(loader, "A loader", "setup_dataloaders")
    if not isinstance(loader, DataLoader):
        raise TypeError(f"`setup_dataloaders({type(loader).__name__})`: pass a torch DataLoader.")
    dealt = ranks.deal(loader, training=True)
    ready: Any = strategy.process_dataloader(with_apart_seeds(dealt, strategy.global_rank))
    return FabricDataLoader(ready, device, strategy)
