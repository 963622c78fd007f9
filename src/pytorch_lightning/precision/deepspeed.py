"""Numbers as DeepSpeed keeps them: its engine owns backward, scaling, clipping and the step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.precision.precision import NOTHING, DefaultDtype, Precision
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import is_plain, plain
from pytorch_lightning.utilities.rank_zero import warnings_given
from pytorch_lightning.utilities.tree import map_leaves

if TYPE_CHECKING:
    from pytorch_lightning.core.module import LightningModule

_DTYPES = {
    "32-true": None,
    "16-true": torch.float16,
    "bf16-true": torch.bfloat16,
    "16-mixed": torch.float16,
    "bf16-mixed": torch.bfloat16,
}


class DeepSpeedPrecision(Precision):
    """32 bits, or 16 with a copy of the parameters in 32 that the optimizer steps.

    What is 'mixed' and what is 'true' differs only in how new tensors are made.
    """

    def __init__(
        self, precision: Literal["32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]
    ) -> None:
        if precision not in _DTYPES:
            raise ValueError(
                f"`precision={precision!r}`: with DeepSpeed pass one of {', '.join(_DTYPES)}."
            )
        self.precision = precision
        self.dtype = _DTYPES[precision]
        halved = self.dtype is not None and precision.endswith("true")
        self._halved = self.dtype if halved else None
        self._context = NOTHING if self._halved is None else DefaultDtype(self._halved)
        self.engine: Any = None
        """DeepSpeed's engine, while there is one."""

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Make the parameters 16 bits wide; the engine does it where that is 'mixed'."""
        return module if self._halved is None else module.to(dtype=self._halved)

    def convert_input(self, data: Any) -> Any:
        """Make the floating point tensors of a batch as wide as the parameters."""
        return data if self.dtype is None else _to(data, self.dtype)

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type."""
        return data if self.dtype is None else _to(data, torch.get_default_dtype())

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors are 16 bits wide where that is 'true'."""
        return self._context

    def forward_context(self) -> AbstractContextManager[Any]:
        """Tensors that `forward` makes likewise."""
        return self._context

    def backward(
        self,
        tensor: Tensor,
        model: LightningModule | None,
        optimizer: Optimizer | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Compute the gradients through the engine."""
        if model is not None and not is_plain(model, "backward"):
            warnings_given.warn(
                f"`{type(model).__name__}.backward` is not called: DeepSpeed's engine computes the "
                "gradients."
            )
        self._engine().backward(tensor, *args, **kwargs)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: LightningModule | nn.Module | None,
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Any:
        """Step through the engine, which leaves a step out whose gradients overflowed."""
        result = None if closure is None else closure()
        engine = self._engine()
        engine.step(**kwargs)
        self.step_skipped = not engine.was_step_applied()
        return result

    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: int | float = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType = GradClipAlgorithmType.NORM,
    ) -> None:
        """Leave it to the engine, which was told `gradient_clip_val` when it was made."""

    def teardown(self) -> None:
        """Let go of the engine."""
        self.engine = None

    def _engine(self) -> Any:
        if self.engine is None:
            raise MisconfigurationException(
                "`DeepSpeedPrecision` works with `strategy='deepspeed'` alone; pass "
                f"`precision={self.precision!r}` instead of the object."
            )
        return self.engine


def _to(data: Any, dtype: torch.dtype) -> Any:
    return map_leaves(data, Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t)
