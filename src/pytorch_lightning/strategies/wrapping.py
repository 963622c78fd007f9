"""How a strategy wraps a module, calls it through the wrapper, and treats its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pytorch_lightning.utilities.plain_mark import plain

_NOTHING = nullcontext()  # holds no state, so one serves everybody


class Wrapping:
    """What differs where a module has a wrapper; none does, by itself."""

    @plain
    def setup_module(self, module: nn.Module) -> nn.Module:
        """Wrap a module, for Fabric."""
        return module

    @plain
    def setup_optimizer(self, optimizer: Optimizer) -> Optimizer:
        """Follow a module that was wrapped after the optimizer was made, for Fabric."""
        return optimizer

    @plain
    def call_method(
        self, wrapped: nn.Module, method: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Call another method than `forward` of what `setup_module` wrapped, for Fabric."""
        return method(*args, **kwargs)

    @plain
    def no_backward_sync(self, wrapped: nn.Module) -> AbstractContextManager[Any]:
        """A context in which a wrapped module accumulates gradients unexchanged, for Fabric."""
        return self.block_backward_sync()

    @plain
    def block_backward_sync(self) -> AbstractContextManager[Any]:
        """A context in which gradients are accumulated without being exchanged."""
        return _NOTHING

    def restore_module(self, module: nn.Module, state: Mapping[str, Any], strict: bool) -> Any:
        """Take whole weights into a module that was set up, for Fabric."""
        return module.load_state_dict(state, strict=strict)

    def restore_optimizer(self, optimizer: Optimizer, state: dict[str, Any]) -> None:
        """Take a whole state into an optimizer that was set up, for Fabric."""
        optimizer.load_state_dict(state)

    @plain
    def scale_gradients(self, optimizer: Optimizer, factor: float) -> None:
        """Multiply the gradients of one optimizer, whose window held fewer batches than planned."""
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if gradients:
            torch._foreach_mul_(gradients, factor)
