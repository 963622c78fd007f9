"""Which parameters each group of an optimizer holds: kept by name, rebuilt before a resume."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.rank_zero import rank_zero_info

Groups = list[list[str | None]]  # names by group; None is no parameter of the module


def groups_of(module: nn.Module, optimizers: Sequence[Optimizer]) -> list[Groups]:
    """The groups of each optimizer, as names of parameters."""
    names: dict[int, str] = {id(p): name for name, p in module.named_parameters()}
    return [
        [[names.get(id(p)) for p in group["params"]] for group in optimizer.param_groups]
        for optimizer in optimizers
    ]


def regroup(
    module: nn.Module,
    optimizers: Sequence[Optimizer],
    saved: Sequence[Sequence[Sequence[Any]]],
    *,
    known: Collection[str],
) -> None:
    """Give each optimizer the groups that it had when it was saved.

    A run may add groups (`optimizer.add_param_group`), empty them or change their order, of which
    `configure_optimizers` knows nothing. Settings and states come with the optimizer's own state.

    Args:
        known: Names of the weights in the file. A parameter that is none of them is new, and no
            run has taken it out of its group.

    Raises:
        CheckpointError: If the module lacks a parameter that an optimizer had.
    """
    found = groups_of(module, optimizers)
    if len(saved) != len(found):
        return  # said where the states are loaded
    parameters = dict(module.named_parameters())
    for index, (optimizer, groups) in enumerate(zip(optimizers, saved, strict=True)):
        wanted = [list(group) for group in groups]
        if wanted == found[index] or any(name is None for group in wanted for name in group):
            continue
        unknown = sorted({name for group in wanted for name in group} - set(parameters))
        if unknown:
            raise CheckpointError(
                f"Optimizer {index} ({type(optimizer).__name__}) of the checkpoint holds "
                f"parameters that {type(module).__name__} does not have: "
                f"{', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}. Make them in "
                "`__init__` or `configure_model`, not while training."
            )
        left_out = {n for group in found[index] for n in group if n is not None}
        left_out -= {name for group in wanted for name in group}
        if left_out <= set(known):  # else said where the states are loaded
            _regroup(optimizer, wanted, parameters)
            rank_zero_info(
                f"Optimizer {index} goes on with the parameter groups of the checkpoint, which "
                "are others than those of `configure_optimizers`."
            )


def _regroup(
    optimizer: Optimizer, wanted: Sequence[list[str]], parameters: Mapping[str, Any]
) -> None:
    groups = optimizer.param_groups
    del groups[len(wanted) :]
    for group, names in zip(groups, wanted, strict=False):
        group["params"] = [parameters[name] for name in names]
        if "param_names" in group:
            group["param_names"] = list(names)
    are_named = bool(groups) and "param_names" in groups[0]
    for names in wanted[len(groups) :]:
        members = [(n, parameters[n]) if are_named else parameters[n] for n in names]
        optimizer.add_param_group({"params": members})


def as_before(states: list[dict[str, Any]], groups: Sequence[Groups]) -> list[dict[str, Any]]:
    """States of optimizers without the groups that a batch added, which adds them again.

    Args:
        groups: Before that batch.
    """
    return [
        _first_groups(state, before) if len(state.get("param_groups", ())) > len(before) else state
        for state, before in zip(states, groups, strict=True)
    ]


def _first_groups(state: dict[str, Any], before: Groups) -> dict[str, Any]:
    kept = state["param_groups"][: len(before)]
    of_kept = {number for group in kept for number in group["params"]}
    of_all = {number: value for number, value in state["state"].items() if number in of_kept}
    return {**state, "param_groups": kept, "state": of_all}
