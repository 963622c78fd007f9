"""16 bits for parameters, inputs and everything new."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pytorch_lightning.precision.precision import DefaultDtype, Precision
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.tree import map_leaves

_DTYPES = {"bf16-true": torch.bfloat16, "16-true": torch.float16}


class HalfPrecision(Precision):
    """Trains with parameters of 16 bits."""

    def __init__(self, precision: Literal["bf16-true", "16-true"] = "16-true") -> None:
        if precision not in _DTYPES:
            raise ValueError(f"`precision={precision!r}`: pass one of {', '.join(_DTYPES)}.")
        self.precision = precision
        self.dtype = _DTYPES[precision]
        self._context = DefaultDtype(self.dtype)

    def _to(self, data: Any, dtype: torch.dtype) -> Any:
        return map_leaves(data, Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Make the parameters 16 bits wide."""
        return module.to(dtype=self.dtype)

    def convert_input(self, data: Any) -> Any:
        """Make the floating point tensors of a batch 16 bits wide."""
        return self._to(data, self.dtype)

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type, in Fabric."""
        return self._to(data, torch.get_default_dtype())

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors are 16 bits wide."""
        return self._context

    def forward_context(self) -> AbstractContextManager[Any]:
        """Tensors that `forward` makes are 16 bits wide."""
        return self._context
