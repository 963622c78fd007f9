"""How large the gradients of a module are."""

import math

import torch
from torch import Tensor
from torch.nn import Module


def grad_norm(
    module: Module, norm_type: float | int | str, group_separator: str = "/"
) -> dict[str, Tensor]:
    """The norm of each gradient, and of all together; empty where there is none.

    Args:
        norm_type: The p of the p-norm; 'inf' is the largest absolute entry.
        group_separator: Between the kind of the norm and the name of the parameter.
    """
    kind = float(norm_type)
    if not kind > 0:
        raise ValueError(f"`norm_type={norm_type!r}`: pass a positive number or 'inf'.")
    label = "inf" if math.isinf(kind) else str(kind)
    norms = {
        f"grad_{label}_norm{group_separator}{name}": torch.linalg.vector_norm(p.grad.detach(), kind)
        for name, p in module.named_parameters()
        if p.grad is not None
    }
    if norms:
        first = next(iter(norms.values())).device
        together = torch.stack([norm.to(first) for norm in norms.values()])
        norms[f"grad_{label}_norm_total"] = torch.linalg.vector_norm(together, kind)
    return norms
