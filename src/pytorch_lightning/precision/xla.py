"""Numbers on XLA devices, where a step is recorded first and computed at a mark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.precision.precision import NOTHING, DefaultDtype, Precision
from pytorch_lightning.utilities.imports import import_optional
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.tree import map_leaves

if TYPE_CHECKING:
    from pytorch_lightning.core.module import LightningModule

_DTYPES = {"16-true": torch.float16, "bf16-true": torch.bfloat16}
_KNOWN = ("32-true", "16-true", "bf16-true", "bf16-mixed")


class XLAPrecision(Precision):
    """32 bits or 16 for all, or bfloat16 in `forward` alone."""

    device_types = ("xla",)

    def __init__(
        self, precision: Literal["32-true", "16-true", "bf16-true", "bf16-mixed"] = "32-true"
    ) -> None:
        if precision not in _KNOWN:
            raise ValueError(
                f"`precision={precision!r}`: on XLA devices pass one of {', '.join(_KNOWN)}."
            )
        self.precision = precision
        self.dtype = _DTYPES.get(precision)
        self._context = NOTHING if self.dtype is None else DefaultDtype(self.dtype)
        self._xla: Any = None
        self._averaged: WeakSet[Optimizer] = WeakSet()

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Make the parameters 16 bits wide, where that was chosen."""
        return module if self.dtype is None else module.to(dtype=self.dtype)

    def convert_input(self, data: Any) -> Any:
        """Bring the floating point tensors of a batch to the type of the parameters."""
        return data if self.dtype is None else _to(data, self.dtype)

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type."""
        unchanged = self.precision == "32-true"
        return data if unchanged else _to(data, torch.get_default_dtype())

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors have the type of the parameters."""
        return self._context

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast for 'bf16-mixed', else tensors that `forward` makes have the chosen type."""
        if self.precision == "bf16-mixed":
            return torch.autocast("xla", dtype=torch.bfloat16)
        return self._context

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Take the mean of all processes, once for each step and before gradients are clipped."""
        if optimizer in self._averaged:
            return
        self._averaged.add(optimizer)
        runtime = import_optional("torch_xla.runtime", purpose="`XLAPrecision`")
        if runtime.world_size() > 1:
            xla_model = import_optional("torch_xla.core.xla_model", purpose="`XLAPrecision`")
            xla_model.reduce_gradients(optimizer)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: LightningModule | nn.Module | None,
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Any:
        """Step, then let the device compute what was recorded."""
        result = optimizer.step(closure, **kwargs)
        self._averaged.discard(optimizer)
        if self._xla is None:
            self._xla = import_optional("torch_xla", purpose="`XLAPrecision`")
        self._xla.sync()
        return result


def _to(data: Any, dtype: torch.dtype) -> Any:
    return map_leaves(data, Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t)
