"""Tensors whose parts lie on several processes; nothing heavy is imported to recognize them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MODULE = "torch.distributed.tensor"


def is_dtensor(value: object) -> bool:
    """Whether a value is a tensor of which this process may hold a part alone."""
    module = sys.modules.get(_MODULE)
    return module is not None and isinstance(value, module.DTensor)


def gathered(value: Any) -> Tensor:
    """The whole tensor; every process of its mesh has to call this."""
    whole: Tensor = value.full_tensor() if is_dtensor(value) else value
    return whole


def divided(whole: Tensor, like: Any) -> Any:
    """This process's part of a tensor that all processes hold, divided like another."""
    from torch.distributed.tensor import distribute_tensor

    local = whole.detach().to(device=like.device)
    try:  # without a message; torch before 2.7 sends it from the first process
        return distribute_tensor(local, like.device_mesh, like.placements, src_data_rank=None)
    except TypeError:
        return distribute_tensor(local, like.device_mesh, like.placements)


@torch.no_grad()
def clip_norm(
    parameters: Iterable[nn.Parameter],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale gradients down together until their norm fits, on whatever meshes they lie.

    Torch's own function wants all gradients on one mesh, and a model that is divided by columns in
    some layers and only sharded in others has two.

    Args:
        error_if_nonfinite: Raise if the norm is not finite.

    Returns:
        The norm before, as a plain tensor.
    """
    if _MODULE not in sys.modules:  # nobody has made such tensors
        return nn.utils.clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite)
    wanted = list(parameters)
    groups: dict[Any, list[Any]] = {}
    for parameter in wanted:
        gradient: Any = parameter.grad
        if gradient is not None:
            mesh = gradient.device_mesh if is_dtensor(gradient) else None
            groups.setdefault(mesh, []).append(gradient)
    if not any(mesh is not None for mesh in groups):
        return nn.utils.clip_grad_norm_(wanted, max_norm, norm_type, error_if_nonfinite)
    norms = [gathered(nn.utils.get_total_norm(group, norm_type)) for group in groups.values()]
    norm: Tensor = torch.linalg.vector_norm(
        torch.stack([n.to(norms[0].device) for n in norms]), norm_type
    )
    if error_if_nonfinite and not torch.isfinite(norm):
        raise RuntimeError(
            f"The norm of the gradients is {norm.item()}, so they cannot be clipped. Pass "
            "`error_if_nonfinite=False` to clip all the same."
        )
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for group in groups.values():
        parts = [gradient.to_local() if is_dtensor(gradient) else gradient for gradient in group]
        torch._foreach_mul_(parts, factor.to(parts[0].device))
    return norm
