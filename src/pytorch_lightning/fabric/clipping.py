"""Gradients that are clipped by value or by norm, for Fabric."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.precision import Precision
from pytorch_lightning.utilities.plain_mark import is_plain


def clip(
    precision: Precision,
    optimizer: Optimizer,
    clip_val: float | int | None,
    max_norm: float | int | None,
    *,
    norm_type: float | int,
    error_if_nonfinite: bool,
) -> Tensor | None:
    """Clip the gradients of one optimizer, at their true size.

    Returns:
        The norm before, when clipped by norm.
    """
    if clip_val is None and max_norm is None:
        raise ValueError("`clip_gradients`: pass `clip_val` or `max_norm`.")
    if clip_val is not None and max_norm is not None:
        raise ValueError(f"`clip_val={clip_val}` and `max_norm={max_norm}`: pass one of the two.")
    precision.unscale_gradients(optimizer)
    if clip_val is not None:
        precision.clip_grad_by_value(optimizer, clip_val)
        return None
    assert max_norm is not None
    if not is_plain(precision, "clip_grad_by_norm"):
        precision.clip_grad_by_norm(optimizer, max_norm)
        return None
    return nn.utils.clip_grad_norm_(
        precision.main_params(optimizer),
        max_norm,
        norm_type=norm_type,
        error_if_nonfinite=error_if_nonfinite,
    )
