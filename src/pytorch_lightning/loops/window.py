"""How much an optimizer step holds, and the one correction that brings its gradients to size.

A loss is divided before backward by what the window is expected to hold: the planned number of
batches, or for weighted losses the weight of the window before. At its end the gradients are
multiplied once by what was assumed over what was, after unscaling and before clipping.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pytorch_lightning.distributed.headers import begins
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Window:
    """The open accumulation window of one optimizer; its numbers live in the state.

    Args:
        index: Of the optimizer.
    """

    def __init__(self, run: Run, index: int) -> None:
        self.run, self.state, self.limits = run, run.state, run.limits
        self.index = index
        self.world = run.strategy.world_size
        self.short = False  # did some rank have no batch for one of its batches?

    @property
    def is_weighted(self) -> bool:
        """Whether the losses bring their weights."""
        return self.state.assumed[self.index] != 0.0

    def share(self, loss_sum: Tensor, weight: Any, before: Any) -> Tensor:
        """The part of a weighted loss in the mean of its window, as far as that is known yet.

        Args:
            weight: Of this batch, such as its number of tokens: a number or a scalar tensor.
            before: Of the batches before it in the window.
        """
        state, index = self.state, self.index
        if not self.is_weighted:
            if state.held[index]:
                raise MisconfigurationException(
                    "`training_step` returned a weighted loss after a plain one in the same "
                    "accumulation window: return `(loss_sum, weight)` for all batches."
                )
            state.assumed[index] = self._first_guess(float(weight))
        state.weights[index] = before + weight
        return loss_sum / state.assumed[index]

    def _first_guess(self, weight: float) -> float:
        """About what the first window will hold, the same number on all ranks."""
        if self.run.peers is not None:  # a rank without data would not take part
            return 1.0
        total = self._over_ranks(weight)[0] / self.world
        return total * self.limits.accumulate or 1.0

    def _over_ranks(self, *values: float) -> list[float]:
        sums = torch.tensor(values, dtype=torch.float64)
        if self.world > 1:
            group = self.run.strategy.control_group
            begins("the weight of a window", group)
            dist.all_reduce(sums, group=group)
        found: list[float] = sums.tolist()
        return found

    def correction(self) -> float:
        """By what to multiply the gradients of the window that ends; zero if it holds nothing."""
        state, index = self.state, self.index
        weighted, short, self.short = self.is_weighted, self.short, False
        weight = float(state.weights[index]) if weighted else 0.0
        state.weights[index] = 0.0
        if weighted or short:
            total, assumed, ranks = self._over_ranks(weight, state.assumed[index], weighted)
            if ranks:
                before, mean = assumed / ranks, total / self.world
                state.assumed[index] = mean or before
                return before / mean if mean else 0.0
        held, planned = state.held[index], self.limits.accumulate
        return planned / held if held and held != planned else 1.0


def as_weighted(output: Any) -> tuple[Tensor, Any, dict[str, Any]] | None:
    """`(loss_sum, weight)` or `{"loss_sum": ..., "weight": ...}`; None for anything else.

    Returns:
        The sum, its weight, and what else the dictionary holds.
    """
    if isinstance(output, tuple):
        if len(output) != 2:
            return None
        loss_sum, weight = output
        extra: dict[str, Any] = {}
    elif isinstance(output, dict) and "loss" not in output and "loss_sum" in output:
        if "weight" not in output:
            raise MisconfigurationException(
                "`training_step` returned 'loss_sum' without 'weight': add how many samples or "
                "tokens the sum is over."
            )
        loss_sum, weight = output["loss_sum"], output["weight"]
        extra = {k: v for k, v in output.items() if k not in ("loss_sum", "weight")}
    else:
        return None
    _check_weight(loss_sum, weight)
    return loss_sum, weight, extra


def unpack(output: Any) -> tuple[Tensor | None, dict[str, Any]]:
    """The loss and the rest of the dictionary that a `training_step` returned."""
    if not isinstance(output, Mapping):
        raise MisconfigurationException(
            f"`training_step` returned a {type(output).__name__}; return the loss (a tensor), a "
            "dictionary with the key 'loss', or None to skip the batch."
        )
    if "loss" not in output:
        raise MisconfigurationException(
            "`training_step` returned a dictionary without the key 'loss'; its keys are "
            f"{list(output)}."
        )
    extra = {key: value for key, value in output.items() if key != "loss"}
    loss = output["loss"]
    if loss is not None and not isinstance(loss, Tensor):
        raise MisconfigurationException(
            f"`training_step` returned {loss!r} as 'loss'; it must be a tensor that was computed "
            "from the parameters."
        )
    return loss, extra


def _check_weight(loss_sum: Any, weight: Any) -> None:
    if not isinstance(loss_sum, Tensor):
        raise MisconfigurationException(
            f"`training_step` returned {loss_sum!r} as the sum of a weighted loss; it must be a "
            "tensor that was computed from the parameters."
        )
    scalar = isinstance(weight, Tensor) and weight.numel() == 1 and not weight.requires_grad
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not scalar and not (number and 0 <= weight < float("inf")):
        raise MisconfigurationException(
            f"`training_step` returned the weight {weight!r}; it must be a number from 0 on, or a "
            "tensor of one element without a gradient: the samples or tokens of the batch."
        )
