"""The precision of sharded modules: what is gathered and reduced in which type."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.precision.half import HalfPrecision
from pytorch_lightning.precision.mixed import MixedPrecision
from pytorch_lightning.precision.names import canonical_precision
from pytorch_lightning.precision.precision import Precision
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import plain

if TYPE_CHECKING:
    from torch.distributed.fsdp import MixedPrecision as ShardedTypes

    from pytorch_lightning.core.module import LightningModule

NAMES = ("32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")
_DTYPES = {"16": torch.float16, "bf16": torch.bfloat16, "32": torch.float32}
_KEY_ELSEWHERE = "MixedPrecision"  # under which other strategies keep the state of a scaler


class FSDPPrecision(Precision):
    """The precision under `FSDPStrategy`.

    With 16 or bf16 "mixed", parameters are kept in 32 bits, gathered in 16, and gradients are
    reduced in 32 bits; with "true" everything has 16 bits.

    Args:
        scaler: Your own gradient scaler; "16-mixed" makes one by default.
        device: The type of device of the run.
    """

    def __init__(
        self,
        precision: Literal["32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"],
        scaler: torch.amp.GradScaler | None = None,
        device: str | None = None,
    ) -> None:
        name = canonical_precision(precision)
        if name not in NAMES:
            raise ValueError(
                f"`precision={precision!r}`: FSDPPrecision knows {', '.join(map(repr, NAMES))}."
            )
        if scaler is not None and name != "16-mixed":
            raise MisconfigurationException(
                f"`scaler`: {name!r} needs none. Leave it out, or pass precision='16-mixed'."
            )
        self.precision = name
        self._inside: Precision = Precision()
        if name.endswith("-mixed"):
            kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
            self._inside = MixedPrecision(name, kind, scaler)
            self.device_types = (kind,)
        elif name != "32-true":
            self._inside = HalfPrecision(name)  # type: ignore[arg-type]  # one of the literals

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """The gradient scaler of "16-mixed"."""
        return getattr(self._inside, "scaler", None)

    @property
    def dtype(self) -> torch.dtype:
        """The type in which parameters are gathered."""
        return _DTYPES[self.precision.partition("-")[0]]

    @property
    def reduce_dtype(self) -> torch.dtype:
        """The type in which gradients are reduced."""
        return torch.float32 if self.precision.endswith("-mixed") else self.dtype

    @property
    def mixed_precision_config(self) -> ShardedTypes:
        """The types under the names of torch's first FSDP."""
        from torch.distributed.fsdp import MixedPrecision as ShardedTypes

        return ShardedTypes(
            param_dtype=self.dtype, reduce_dtype=self.reduce_dtype, buffer_dtype=self.dtype
        )

    @property
    def step_skipped(self) -> bool:  # type: ignore[override]  # another object's value
        """Whether the last `optimizer_step` left the weights alone."""
        return self._inside.step_skipped

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Take part in the set-up of a run."""
        return self._inside.connect(model, optimizers, lr_schedulers)

    def convert_module(self, module: nn.Module) -> nn.Module:
        """Make the parameters 16 bits wide with "true"."""
        return self._inside.convert_module(module)

    def convert_input(self, data: Any) -> Any:
        """Make the floating point tensors of a batch 16 bits wide with "true"."""
        return self._inside.convert_input(data)

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type, in Fabric."""
        return self._inside.convert_output(data)

    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """New tensors are 16 bits wide with "true"."""
        return self._inside.tensor_init_context()

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast with "mixed"; new tensors of 16 bits with "true"."""
        return self._inside.forward_context()

    def pre_backward(self, tensor: Tensor, module: LightningModule | None) -> Tensor:
        """Scale the loss up where there is a scaler."""
        return self._inside.pre_backward(tensor, module)

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale, once for each step."""
        self._inside.unscale_gradients(optimizer)

    def forget_step(self, optimizer: Optimizer) -> None:
        """Its gradients were cleared and will not be stepped with."""
        self._inside.forget_step(optimizer)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: LightningModule | nn.Module | None,
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Any:
        """Step unless a gradient overflowed."""
        return self._inside.optimizer_step(optimizer, model, closure, **kwargs)

    def state_dict(self) -> dict[str, Any]:
        """The state of the scaler."""
        return self._inside.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the scale."""
        self._inside.load_state_dict(state_dict)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the scale under the name that other strategies look for, too."""
        state = checkpoint.get(type(self).__qualname__)
        if state:
            checkpoint[_KEY_ELSEWHERE] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the scale of a run under another strategy."""
        if type(self).__qualname__ not in checkpoint and _KEY_ELSEWHERE in checkpoint:
            self.load_state_dict(checkpoint[_KEY_ELSEWHERE])
