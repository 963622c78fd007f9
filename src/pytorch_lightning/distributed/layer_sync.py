"""Layers whose statistics are of all processes together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

_ORIGINAL = "_layer_before_sync"


class LayerSync(ABC):
    """Replaces layers by ones that look at the batches of all processes, and back."""

    @abstractmethod
    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the layers, before training."""

    @abstractmethod
    def revert(self, model: nn.Module) -> nn.Module:
        """Put the layers back, after training."""


class TorchSyncBatchNorm(LayerSync):
    """Makes batch norm layers `torch.nn.SyncBatchNorm`, which runs on GPUs.

    `revert` puts the very same layers back, with the weights and statistics of the end.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the batch norm layers."""
        return _replaced(model, _synchronized)

    def revert(self, model: nn.Module) -> nn.Module:
        """Put the batch norm layers back that `apply` replaced."""
        return _replaced(model, _original)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether there is anything to synchronize."""
    return any(isinstance(layer, _BatchNorm) for layer in model.modules())


def _synchronized(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, _BatchNorm) or isinstance(layer, nn.SyncBatchNorm):
        return layer
    made: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(layer)  # type: ignore[no-untyped-call]  # of torch
    made.train(layer.training)
    made.__dict__[_ORIGINAL] = layer  # past `__setattr__`, which would make it a child
    return made


def _original(layer: nn.Module) -> nn.Module:
    original: nn.Module | None = layer.__dict__.get(_ORIGINAL)
    if original is None:
        return layer
    original._parameters.update(layer._parameters)
    original._buffers.update(layer._buffers)
    original.train(layer.training)
    return original


def _replaced(model: nn.Module, replace: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A module in which each layer was replaced, also one that is in several places."""
    known: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is None:
                continue
            if child not in known:
                known[child] = replace(child)
            if known[child] is not child:
                setattr(parent, name, known[child])
    return replace(model)
