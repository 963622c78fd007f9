"""One layer: its type, its size, and the shapes that went through it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, Parameter
from torch.nn.parameter import is_lazy
from torch.utils.hooks import RemovableHandle

UNKNOWN_SIZE = "?"


def parse_batch_shape(batch: Any) -> str | list[Any]:
    """The shape of a tensor, those of a list of tensors, or '?'."""
    if isinstance(batch, Tensor):
        return list(batch.shape)
    if isinstance(batch, list | tuple):
        return [parse_batch_shape(element) for element in batch]
    return UNKNOWN_SIZE


def count_elements(parameters: Iterable[Parameter]) -> int:
    """How many numbers the parameters hold; those without a shape yet hold none."""
    return sum(p.numel() for p in parameters if not is_lazy(p))


class LayerSummary:
    """What is known of one layer; shapes appear when it is called.

    Args:
        module: The layer.
    """

    def __init__(self, module: Module) -> None:
        self._module = module
        self._in_size: str | list[Any] | None = None
        self._out_size: str | list[Any] | None = None
        self._hook: RemovableHandle | None = self._watch()

    def _watch(self) -> RemovableHandle | None:
        def record(_: Module, inputs: Any, output: Any) -> None:
            first = inputs[0] if len(inputs) == 1 else inputs
            self._in_size = parse_batch_shape(first)
            self._out_size = parse_batch_shape(output)
            self.detach_hook()

        if isinstance(self._module, torch.jit.ScriptModule):
            return None  # it takes no hooks
        return self._module.register_forward_hook(record)

    def detach_hook(self) -> None:
        """Watch no further calls."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    @property
    def in_size(self) -> str | list[Any]:
        """The shapes of the inputs of the first call."""
        return self._in_size or UNKNOWN_SIZE

    @property
    def out_size(self) -> str | list[Any]:
        """The shapes of the outputs of the first call."""
        return self._out_size or UNKNOWN_SIZE

    @property
    def layer_type(self) -> str:
        """The name of its class."""
        return str(self._module.__class__.__name__)

    @property
    def num_parameters(self) -> int:
        """How many numbers its parameters hold, with those of its children."""
        return count_elements(self._module.parameters())

    @property
    def is_lazy(self) -> bool:
        """Whether a parameter has no shape yet."""
        return any(is_lazy(p) for p in self._module.parameters())

    @property
    def training(self) -> bool:
        """Whether it is in train mode."""
        return self._module.training
