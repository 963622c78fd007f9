"""A step of the module through the wrapper that exchanges its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# What a module is called through, before its own hooks and `forward`: a step that goes through the
# wrapper is no call of `forward`, and the hooks of the module do not belong to it.
_CALL = "_compiled_call_impl"
_UNFINISHED = "Expected to have finished reduction"
_MOST_NAMES = 5


class Route:
    """Calls any function as if it were the wrapper's `forward`.

    Arguments go past the wrapper, which would copy their containers. What it finds in the result
    are tensors that backward starts from; of a dictionary only the loss is one.
    """

    def __init__(self, wrapper: DistributedDataParallel, module: nn.Module) -> None:
        self.wrapper = wrapper
        self._attributes = module.__dict__
        self._looks_at_output = wrapper.find_unused_parameters or wrapper.static_graph
        self._function: Callable[..., Any] | None = None
        self._args: tuple[Any, ...] = ()
        self._options: dict[str, Any] = {}
        self._kept: Any = None
        self._output: dict[str, Any] | None = None
        self._key = ""

    def __call__(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function inside the wrapper.

        Raises:
            RuntimeError: If the last backward did not reach all parameters.
        """
        wrapper = self.wrapper
        attributes = self._attributes
        self._function, self._args, self._options = function, args, options
        self._kept = attributes.get(_CALL)
        attributes[_CALL] = self._called
        try:
            result = wrapper()
        except RuntimeError as error:
            if str(error).startswith(_UNFINISHED):
                raise RuntimeError(unfinished(wrapper)) from error
            raise
        finally:
            if self._function is not None:  # the wrapper failed before it came to the module
                self._clear()
        if self._output is not None:
            result, self._output = {**self._output, self._key: result}, None
        return result

    def in_training(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a function inside the wrapper where gradients are wanted, else as it is.

        Without gradients the wrapper would only exchange buffers, for which all have to come.
        """
        if torch.is_grad_enabled():
            return self(function, *args, **options)
        return function(*args, **options)

    def _called(self) -> Any:
        function, args, options = self._function, self._args, self._options
        assert function is not None
        self._clear()
        output = function(*args, **options)
        if self._looks_at_output and isinstance(output, dict):
            self._key = "loss" if "loss" in output else "loss_sum"
            loss = output.get(self._key)
            if isinstance(loss, Tensor):
                self._output = output
                return loss
        return output

    def _clear(self) -> None:
        self._function, self._args, self._options = None, (), {}
        kept, self._kept = self._kept, None
        if kept is None:
            self._attributes.pop(_CALL, None)
        else:
            self._attributes[_CALL] = kept


class NoExchange:
    """A context in which the wrapper exchanges no gradients; it can be entered again.

    A static graph is learned in two exchanges that follow each other, so that these take place in
    any case. The mean of gradients that are partly alike already is the same.
    """

    def __init__(self, wrapper: DistributedDataParallel) -> None:
        self.wrapper = wrapper
        self.before: list[bool] = []

    def __enter__(self) -> None:
        self.before.append(self.wrapper.require_backward_grad_sync)
        learning = self.wrapper.static_graph and not self.wrapper._has_rebuilt_buckets
        self.wrapper.require_backward_grad_sync = learning

    def __exit__(self, *exception: object) -> None:
        self.wrapper.require_backward_grad_sync = self.before.pop()


def unfinished(wrapper: DistributedDataParallel) -> str:
    """Say which parameters backward did not reach, and what to do."""
    found = list(islice(_without_gradient(wrapper.module), _MOST_NAMES + 1))
    names = ", ".join(repr(name) for name in found[:_MOST_NAMES])
    more = " and others" if len(found) > _MOST_NAMES else ""
    who = f" Without a gradient: {names}{more}." if found else ""
    return (
        "The last backward did not reach all parameters, so that the gradients of the processes "
        f"could not be averaged.{who} Pass strategy='ddp_find_unused_parameters_true', or freeze "
        "what is not trained (`requires_grad_(False)`) before training begins."
    )


def _without_gradient(module: nn.Module) -> Iterator[str]:
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            yield name
