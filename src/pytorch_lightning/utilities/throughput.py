"""How much arithmetic a step takes."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import Module


def measure_flops(
    model: Module,
    forward_fn: Callable[[], Tensor],
    loss_fn: Callable[[Tensor], Tensor] | None = None,
) -> int:
    """Count the floating-point operations of one forward pass, and of its backward pass.

    On the meta device this costs neither time nor memory.

    Args:
        forward_fn: Runs the model.
        loss_fn: Makes a loss of the output; with it the backward pass is counted as well.
    """
    from torch.utils.flop_counter import FlopCounterMode  # lazy: using it loads a compiler

    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(loss_fn is not None or torch.is_grad_enabled()):
        output = forward_fn()
        if loss_fn is not None:
            loss_fn(output).backward()  # type: ignore[no-untyped-call]  # torch
    if loss_fn is not None:
        model.zero_grad(set_to_none=True)
    return counter.get_total_flops()
