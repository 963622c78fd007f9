"""A dictionary of modules, optimizers and values to plain data, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from pytorch_lightning.fabric.wrappers import unwrap
from pytorch_lightning.strategies import Strategy

Filter = Mapping[str, Callable[[str, Any], bool]]


def is_stateful(value: object) -> bool:
    """Whether a value saves and loads itself."""
    return callable(getattr(value, "state_dict", None)) and callable(
        getattr(value, "load_state_dict", None)
    )


def pack(state: Mapping[str, Any], strategy: Strategy) -> dict[str, Any]:
    """Replace what has a state by that state."""
    packed: dict[str, Any] = {}
    for name, value in state.items():
        inside = unwrap(value)
        if isinstance(inside, Optimizer):
            packed[name] = strategy.optimizer_state(inside)
        elif is_stateful(inside):
            packed[name] = inside.state_dict()
        else:
            packed[name] = inside
    return packed


def check_filter(state: Mapping[str, Any], chosen: Filter) -> None:
    """Refuse a filter for something that is not saved, or one that cannot be called."""
    strangers = sorted(set(chosen) - set(state))
    if strangers:
        raise ValueError(
            f"`filter`: {', '.join(map(repr, strangers))} is not in the state, which has "
            f"{', '.join(map(repr, state))}."
        )
    for name, accepts in chosen.items():
        if not callable(accepts):
            raise TypeError(f"`filter[{name!r}]={accepts!r}`: pass a function of name and value.")


def apply_filter(packed: dict[str, Any], chosen: Filter) -> dict[str, Any]:
    """Keep of each entry what its filter accepts."""
    kept = dict(packed)
    for name, accepts in chosen.items():
        if not isinstance(packed[name], Mapping):
            raise TypeError(
                f"`filter[{name!r}]`: the state of {name!r} is a {type(packed[name]).__name__}, "
                "and only the entries of a mapping can be filtered."
            )
        kept[name] = {key: value for key, value in packed[name].items() if accepts(key, value)}
    return kept


def unpack(
    loaded: dict[str, Any], state: dict[str, Any], strict: bool, strategy: Strategy
) -> dict[str, Any]:
    """Fill `state` from a checkpoint, in place.

    Returns:
        The entries that nobody asked for.

    Raises:
        KeyError: `strict`, and an entry of `state` is not in the checkpoint.
    """
    missing = [name for name in state if name not in loaded]
    if strict and missing:
        raise KeyError(
            f"The checkpoint has no {', '.join(map(repr, missing))}; it has "
            f"{', '.join(map(repr, loaded)) or 'nothing'}. Pass strict=False to skip what is "
            "missing."
        )
    for name, value in list(state.items()):
        if name in loaded:
            state[name] = fill(value, loaded[name], strict, strategy)
    return {name: value for name, value in loaded.items() if name not in state}


def fill(value: Any, saved: Any, strict: bool, strategy: Strategy) -> Any:
    """Give an object its state, or return the saved value where it has none."""
    inside = unwrap(value)
    if isinstance(inside, nn.Module):
        strategy.restore_module(inside, saved, strict)
    elif isinstance(inside, Optimizer):
        strategy.restore_optimizer(inside, saved)
    elif is_stateful(inside):
        inside.load_state_dict(saved)
    else:
        return saved
    return value
