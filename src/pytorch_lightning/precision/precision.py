"""How numbers are kept: the contract, and 32 bits where nothing has to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pytorch_lightning.utilities.dtensor import clip_norm
from pytorch_lightning.utilities.enums import GradClipAlgorithmType
from pytorch_lightning.utilities.plain_mark import plain

if TYPE_CHECKING:
    from pytorch_lightning.core.module import LightningModule

NOTHING = nullcontext()  # holds no state, so one serves everybody


class Precision:
    """32 bits; the methods are where other precisions differ.

    One optimizer step runs `pre_backward`, `backward` and `post_backward` for each batch, then
    `optimizer_step`. Its closure computes the gradients and, before they are clipped, calls
    `unscale_gradients`.
    """

    precision: str = "32-true"
    device_types: tuple[str, ...] | None = None
    """The types of devices on which it works; None for all."""
    step_skipped: bool = False
    """Whether the last `optimizer_step` left the weights alone because of non-finite gradients."""

    widens: bool = False
    """Whether parameters get more digits, which weights of a checkpoint must find in place."""

    @plain
    def connect(
        self, model: nn.Module, optimizers: list[Optimizer], lr_schedulers: list[Any]
    ) -> tuple[nn.Module, list[Optimizer], list[Any]]:
        """Take part in the set-up of a run; what is returned is used from then on."""
        return model, optimizers, lr_schedulers

    @plain
    def convert_module(self, module: nn.Module) -> nn.Module:
        """Bring the parameters to this precision."""
        return module

    @plain
    def convert_input(self, data: Any) -> Any:
        """Bring a batch to this precision, before `forward`."""
        return data

    @plain
    def convert_output(self, data: Any) -> Any:
        """Bring what `forward` or a step returned to the default precision.

        The precisions of this package do so in `Fabric` alone; what steps return in a `Trainer`
        keeps the type that was computed.
        """
        return data

    @plain
    def tensor_init_context(self) -> AbstractContextManager[Any]:
        """A context in which new tensors have this precision."""
        return NOTHING

    @plain
    def module_init_context(self) -> AbstractContextManager[Any]:
        """A context in which new modules have this precision."""
        return self.tensor_init_context()

    @plain
    def forward_context(self) -> AbstractContextManager[Any]:
        """A context in which `forward` computes in this precision."""
        return NOTHING

    @plain
    def train_step_context(self) -> AbstractContextManager[Any]:
        """The context of `training_step`."""
        return self.forward_context()

    @plain
    def val_step_context(self) -> AbstractContextManager[Any]:
        """The context of `validation_step`."""
        return self.forward_context()

    @plain
    def test_step_context(self) -> AbstractContextManager[Any]:
        """The context of `test_step`."""
        return self.forward_context()

    @plain
    def predict_step_context(self) -> AbstractContextManager[Any]:
        """The context of `predict_step`."""
        return self.forward_context()

    @plain
    def pre_backward(self, tensor: Tensor, module: LightningModule | None) -> Tensor:
        """Change the loss before `backward`."""
        return tensor

    @plain
    def backward(
        self,
        tensor: Tensor,
        model: LightningModule | None,
        optimizer: Optimizer | None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Compute the gradients, through the module's `backward` hook where there is a module."""
        if model is None:
            tensor.backward(*args, **kwargs)  # type: ignore[no-untyped-call]  # of torch
        else:
            model.backward(tensor, *args, **kwargs)

    @plain
    def post_backward(self, tensor: Tensor, module: LightningModule | None) -> Tensor:
        """Change the loss after `backward`, for whoever reads it."""
        return tensor

    @plain
    def optimizer_step(
        self,
        optimizer: Optimizer,
        model: LightningModule | nn.Module | None,
        closure: Callable[[], Any] | None,
        **kwargs: Any,
    ) -> Any:
        """Step the optimizer.

        Returns:
            What the closure returned.
        """
        return optimizer.step(closure, **kwargs)

    @plain
    def unscale_gradients(self, optimizer: Optimizer) -> None:
        """Give the gradients their true size; called again before the step, it does nothing."""

    @plain
    def forget_step(self, optimizer: Optimizer) -> None:
        """Its gradients were cleared and will not be stepped with."""

    @plain
    def clip_gradients(
        self,
        optimizer: Optimizer,
        clip_val: int | float = 0.0,
        gradient_clip_algorithm: GradClipAlgorithmType = GradClipAlgorithmType.NORM,
    ) -> None:
        """Clip the gradients of one optimizer; 0 or less means not at all."""
        if clip_val is None or clip_val <= 0:
            return
        if gradient_clip_algorithm == GradClipAlgorithmType.VALUE:
            self.clip_grad_by_value(optimizer, clip_val)
        else:
            self.clip_grad_by_norm(optimizer, clip_val)

    @plain
    def clip_grad_by_value(self, optimizer: Optimizer, clip_val: int | float) -> None:
        """Clip each element of the gradients."""
        parameters = [p for p in self.main_params(optimizer) if p.grad is not None]
        if parameters:  # torch cannot clip nothing
            nn.utils.clip_grad_value_(parameters, clip_value=clip_val)

    @plain
    def clip_grad_by_norm(self, optimizer: Optimizer, clip_val: int | float) -> None:
        """Scale the gradients down together until their norm fits."""
        clip_norm(self.main_params(optimizer), clip_val)

    @plain
    def main_params(self, optimizer: Optimizer) -> Iterator[nn.Parameter]:
        """The parameters that one optimizer steps."""
        for group in optimizer.param_groups:
            yield from group["params"]

    @plain
    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps under the name of the class."""
        return {}

    @plain
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""

    @plain
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add to a checkpoint that is about to be saved."""

    @plain
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read from a checkpoint that was loaded."""

    @plain
    def teardown(self) -> None:
        """End a run."""


class DefaultDtype:
    """A context in which new float tensors have the given type; it can be entered again."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.before: list[torch.dtype] = []

    def __enter__(self) -> None:
        self.before.append(torch.get_default_dtype())
        torch.set_default_dtype(self.dtype)

    def __exit__(self, *exception: object) -> None:
        torch.set_default_dtype(self.before.pop())
