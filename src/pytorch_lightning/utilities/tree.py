"""Batches as trees: nested lists, tuples, mappings, named tuples and dataclasses of anything."""

import copy
import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def map_leaves(tree: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    """Apply `function` to each leaf of type `kind`; other leaves pass through.

    The containers are made anew; a leaf that is not of `kind` stays the same object.
    """
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, Mapping):
        return _rebuild_mapping(tree, {k: map_leaves(v, kind, function) for k, v in tree.items()})
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_leaves(v, kind, function) for v in tree))
    if isinstance(tree, list | tuple):
        return type(tree)([map_leaves(v, kind, function) for v in tree])
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return _rebuild_dataclass(tree, kind, function)
    return tree


def _rebuild_mapping(tree: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    if type(tree) is dict:
        return items
    if isinstance(tree, defaultdict):
        return defaultdict(tree.default_factory, items)
    if isinstance(tree, OrderedDict):
        return type(tree)(items)
    try:
        return type(tree)(items)  # type: ignore[call-arg]  # mappings of users take one
    except TypeError:
        return items


def _rebuild_dataclass(tree: Any, kind: Any, function: Callable[[Any], Any]) -> Any:
    result = copy.copy(tree)
    for field in dataclasses.fields(tree):
        if hasattr(tree, field.name):
            value = map_leaves(getattr(tree, field.name), kind, function)
            object.__setattr__(result, field.name, value)  # frozen ones too
    return result


def leaves(tree: Any) -> Iterator[Any]:
    """The leaves in the order in which they are stored."""
    if isinstance(tree, Mapping):
        for value in tree.values():
            yield from leaves(value)
    elif isinstance(tree, list | tuple):
        for value in tree:
            yield from leaves(value)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        for field in dataclasses.fields(tree):
            yield from leaves(getattr(tree, field.name, None))
    else:
        yield tree


class _Movable:
    """`isinstance` says yes to whatever has a `to` method and is no type."""

    def __instancecheck__(self, value: object) -> bool:
        return callable(getattr(value, "to", None)) and not isinstance(value, type)


MOVABLE = _Movable()


def move_data_to_device(batch: Any, device: torch.device | str | int) -> Any:
    """Move everything in a batch that has a `to` method.

    Tensors are moved without blocking, except to the CPU and to MPS, where a copy that is not
    awaited could be read too early.
    """
    target = torch.device(device)
    non_blocking = target.type not in ("cpu", "mps")

    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(target, non_blocking=non_blocking)
        moved = value.to(target)
        return value if moved is None else moved  # some `to` methods work in place

    if isinstance(batch, Tensor):
        return move(batch)
    return map_leaves(batch, MOVABLE, move)


def detach(tree: Any, *, to_cpu: bool = False) -> Any:
    """Cut every tensor off its graph, and bring it home if asked."""
    if isinstance(tree, Tensor):
        return tree.detach().cpu() if to_cpu else tree.detach()
    return map_leaves(tree, Tensor, lambda t: t.detach().cpu() if to_cpu else t.detach())


def apply_to_collection(
    data: Any,
    dtype: Any,
    function: Callable[..., Any],
    *args: Any,
    wrong_dtype: Any = None,
    include_none: bool = True,
    allow_frozen: bool = True,
    **kwargs: Any,
) -> Any:
    """Apply `function(leaf, *args, **kwargs)` to each leaf of type `dtype`.

    Args:
        wrong_dtype: Leaves of this type are passed over.
        include_none: Whether a None that `function` returns stays in its container.
        allow_frozen: Has no effect; frozen dataclasses are copied like others.
    """

    def apply(value: Any) -> Any:
        if wrong_dtype is not None and isinstance(value, wrong_dtype):
            return value
        return function(value, *args, **kwargs)

    result = map_leaves(data, dtype, apply)
    return result if include_none else _without_none(result)


def _without_none(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return _rebuild_mapping(
            tree, {k: _without_none(v) for k, v in tree.items() if v is not None}
        )
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return type(tree)([_without_none(v) for v in tree if v is not None])
    return tree


def shapes_in(tree: Any, *, at_most: int) -> str:
    """Shapes and types of the tensors in a tree, in words."""
    tensors = [leaf for leaf in leaves(tree) if isinstance(leaf, Tensor)]
    shown = [f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in tensors]
    more = ", ..." if len(shown) > at_most else ""
    return ", ".join(shown[:at_most]) + more
