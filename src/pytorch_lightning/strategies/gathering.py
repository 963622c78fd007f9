"""When the parameters of a divided module are whole, and what travels between its processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pytorch_lightning.utilities.dtensor import is_dtensor

_PASSAGE = "_call_gathered"


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function."""
    return function(*args, **kwargs)


def passage(module: nn.Module) -> Callable[..., Any]:
    """A way to call functions as a module's `forward` is called: with its parameters gathered."""
    from torch.distributed.fsdp import register_fsdp_forward_method

    module.__dict__[_PASSAGE] = call
    register_fsdp_forward_method(module, _PASSAGE)
    found: Callable[..., Any] = module.__dict__.pop(_PASSAGE)
    return found


def is_unit(module: nn.Module | None) -> bool:
    """Whether `fully_shard` took a module as a unit."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(module, FSDPModule)


class NoExchange:
    """A context in which the units of a module keep their gradients; it can be entered again."""

    def __init__(self, module: nn.Module) -> None:
        self._units: list[Any] = [one for one in module.modules() if is_unit(one)]

    def __enter__(self) -> None:
        for unit in self._units:
            unit.set_requires_gradient_sync(False, recurse=False)

    def __exit__(self, *exception: object) -> None:
        for unit in self._units:
            unit.set_requires_gradient_sync(True, recurse=False)


def average_in_backward(parameter: nn.Parameter, group: Any | None = None) -> Any:
    """Average the gradient of a parameter over processes as soon as backward is through with it.

    Returns:
        The handle that takes the hook off.
    """

    def average(one: Any) -> None:
        if one.grad is not None:
            part = one.grad.to_local() if is_dtensor(one.grad) else one.grad
            dist.all_reduce(part, group=group)
            part.div_(dist.get_world_size(group))

    hooked: Any = parameter  # has no types
    trained = parameter.requires_grad
    parameter.requires_grad_(True)  # else torch takes no hook
    handle = hooked.register_post_accumulate_grad_hook(average)
    parameter.requires_grad_(trained)
    return handle


def broadcast_values(tensor: Tensor) -> None:
    """Give a tensor the values that it has in the first process."""
    if not tensor.numel():
        return
    flat = tensor.data.contiguous().view(-1)
    dist.broadcast(flat.view(torch.uint8), src=0)  # as bytes: some types cannot travel
    if flat.data_ptr() != tensor.data_ptr():
        tensor.data.copy_(flat.view(tensor.shape))


def bring(module: nn.Module, device: torch.device, *, several: bool) -> None:
    """Put what a layer itself holds whole on the device, with the values of the first process."""
    for tensor in (*module._parameters.values(), *module._buffers.values()):
        if tensor is None or is_dtensor(tensor):
            continue
        if tensor.device != device:
            tensor.data = tensor.data.to(device)
        if several:
            broadcast_values(tensor)
