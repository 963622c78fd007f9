"""The engine of DeepSpeed: how steps go through it, and what is asked of it beside its verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from pytorch_lightning.utilities.imports import import_optional


def import_deepspeed() -> Any:
    """The package, or a sentence on how to get it."""
    return import_optional("deepspeed", purpose="`strategy='deepspeed'`")


def call_through(
    engine: Any, module: nn.Module, method: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """Call a method as the `forward` of the module, around which the engine does its work."""

    def forward_once(*inputs: Any, **options: Any) -> Any:
        module.__dict__.pop("forward", None)
        return method(*inputs, **options)

    engine.training = module.training
    module.__dict__["forward"] = forward_once
    try:
        return engine(*args, **kwargs)
    finally:
        module.__dict__.pop("forward", None)


@contextmanager
def scaled(engine: Any, factor: float) -> Iterator[None]:
    """Let the step multiply all gradients, by way of the scale that it divides them by."""
    optimizer = engine.optimizer
    if not hasattr(optimizer, "override_loss_scale"):  # without ZeRO they are where they were
        for parameter in engine.module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        yield
        return
    optimizer.override_loss_scale(optimizer.loss_scale / factor)
    try:
        yield
    finally:
        optimizer.custom_loss_scaler = False
