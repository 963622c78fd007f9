"""Forward in 16 bits, parameters in 32: autocast, and a scaler for float16."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from pytorch_lightning.precision.names import canonical_precision
from pytorch_lightning.precision.precision import Precision
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.plain_mark import plain
from pytorch_lightning.utilities.tree import map_leaves

if TYPE_CHECKING:
    from pytorch_lightning.core.module import LightningModule

_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class MixedPrecision(Precision):
    """Automatic mixed precision.

    Args:
        device: The type of device, such as "cuda" or "cpu".
        scaler: Your own gradient scaler; float16 makes one by default.
    """

    def __init__(
        self,
        precision: Literal["16-mixed", "bf16-mixed"] | str | int,
        device: str,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        name = canonical_precision(precision)
        if name not in _DTYPES:
            raise ValueError(f"`precision={precision!r}`: pass one of {', '.join(_DTYPES)}.")
        if name == "bf16-mixed" and scaler is not None:
            raise MisconfigurationException(
                "`scaler`: 'bf16-mixed' needs none. Leave it out, or pass precision='16-mixed'."
            )
        self.precision = name
        self.device = device
        self.device_types = (torch.device(device).type,)
        if name == "16-mixed" and scaler is None:
            scaler = torch.amp.GradScaler(device=device)
        self.scaler = scaler
        self._update_due = False
        self._unscaled: WeakSet[Optimizer] = WeakSet()
        self._done: WeakSet[Optimizer] = WeakSet()
        self._watched: WeakSet[Optimizer] = WeakSet()
        self._connected: WeakSet[Optimizer] = WeakSet()

    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Remember the optimizers, whose gradients have to follow the scale."""
        self._connected.update(optimizers)
        return model, optimizers, lr_schedulers

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring floating point results to torch's default type, in Fabric."""
        dtype = torch.get_default_dtype()
        return map_leaves(data, Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t)

    def forward_context(self) -> AbstractContextManager[Any]:
        """Autocast; the cache of cast weights lives as long as one forward."""
        return torch.autocast(self.device, dtype=_DTYPES[self.precision])

    def pre_backward(self, tensor: Tensor, module: LightningModule | None) -> Tensor:
        """Scale the loss up, so that small gradients survive float16."""
        if self.scaler is None:
            return tensor
        self._update()
        return self.scaler.scale(tensor)

    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Divide the gradients by the scale, once for each step."""
        scaler = self.scaler
        if scaler is None or optimizer in self._unscaled or not self._has_gradients(optimizer):
            return
        scaler.unscale_(optimizer)
        self._unscaled.add(optimizer)

    def forget_step(self, optimizer: Optimizer) -> None:
        """Begin anew with this optimizer: what its gradients showed does not change the scale."""
        self._unscaled.discard(optimizer)
        if self.scaler is not None:
            self.scaler._per_optimizer_states.pop(id(optimizer), None)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: int | float = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType = GradClipAlgorithmType.NORM,
    ) -> None:
        """Clip gradients of true size: in manual optimization nobody unscaled them before."""
        self.unscale_gradients(optimizer)
        super().clip_gradients(optimizer, clip_val, gradient_clip_algorithm)

    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: LightningModule | nn.Module | None,
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Any:
        """Step unless a gradient overflowed."""
        scaler = self.scaler
        if scaler is None:
            return super().optimizer_step(optimizer, model, closure, **kwargs)
        if isinstance(optimizer, LBFGS):
            raise MisconfigurationException(
                "`precision='16-mixed'` cannot train with LBFGS, which runs its closure more than "
                "once a step. Pass precision='bf16-mixed' or another optimizer."
            )
        result = None if closure is None else closure()
        self.step_skipped = False
        if not self._has_gradients(optimizer):  # nothing was scaled; the scaler would object
            optimizer.step(**kwargs)
            return result
        self.unscale_gradients(optimizer)
        self._step(scaler, optimizer, kwargs)
        self._update_due = True
        return result

    def _step(
        self, scaler: torch.amp.GradScaler, optimizer: Optimizer, kwargs: dict[str, Any]
    ) -> None:
        hookable = isinstance(optimizer, Optimizer)
        if hookable and optimizer not in self._watched:
            optimizer.register_step_post_hook(self._stepped)
            self._watched.add(optimizer)
        self.step_skipped = True
        scaler.step(optimizer, **kwargs)
        self._done.add(optimizer)
        if not hookable or getattr(optimizer, "_step_supports_amp_scaling", False):
            # A fused optimizer is always called and skips inside its kernel.
            found = scaler._found_inf_per_device(optimizer)
            self.step_skipped = any(bool(value) for value in found.values())

    def _stepped(self, *_: object) -> None:
        self.step_skipped = False

    def _has_gradients(self, optimizer: Optimizer) -> bool:
        return any(parameter.grad is not None for parameter in self.main_params(optimizer))

    def _update(self) -> None:
        """Adapt the scale before the next backward, once for all the optimizers that stepped.

        Earlier would change the scale under gradients that another optimizer has yet to unscale.
        Gradients that are still being accumulated by then follow the scale.
        """
        scaler = self.scaler
        if scaler is None or not self._update_due:
            return
        waiting = [o for o in self._connected - self._unscaled if self._has_gradients(o)]
        before = scaler.get_scale() if waiting else 1.0
        scaler.update()
        self._unscaled.clear()
        self._done.clear()
        self._update_due = False
        ratio = scaler.get_scale() / before if waiting else 1.0
        if ratio == 1.0:
            return
        for optimizer in waiting:
            for parameter in self.main_params(optimizer):
                if parameter.grad is not None:
                    parameter.grad.mul_(ratio)

    def state_dict(self) -> dict[str, Any]:
        """The scale and its growth."""
        if self._unscaled <= self._done:  # else one optimizer is about to step
            self._update()
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the scale."""
        if self.scaler is not None and state_dict:
            for optimizer in self._unscaled:  # what they showed belongs to the scale before
                self.scaler._per_optimizer_states.pop(id(optimizer), None)
            self._unscaled.clear()
            self._done.clear()
            self._update_due = False
            self.scaler.load_state_dict(state_dict)
