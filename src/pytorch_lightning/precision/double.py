"""64 bits for parameters, inputs and everything new."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_lightning.precision.precision import DefaultDtype, Precision
from pytorch_lightning.utilities.tree import map_leaves


def _to_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


class DoublePrecision(Precision):
    """Trains in float64."""

    precision = "64-true"
    widens = True

    def __init__(self) -> None:
        self._context = DefaultDtype(torch.float64)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Make the parameters float64."""
        return module.double()

    def convert_input(self, data: Any) -> Any:
        """Make the floating point tensors of a batch float64."""
        return map_leaves(data, Tensor, _to_double)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors are float64."""
        return self._context

    def forward_context(self) -> AbstractContextManager[Any]:
        """Tensors that `forward` makes are float64."""
        return self._context
