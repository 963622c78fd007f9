"""What each rank alone knows of a run: into a checkpoint, and back on as many ranks or others."""

import random
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_lightning.loops.results import GRAPH, REDUCE, SYNC, reduction
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities.dtensor import is_dtensor
from pytorch_lightning.utilities.environ import read_int
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.warnings import PossibleUserWarning

_OF_A_RANK = (
    *("rng", "results", "metrics", "gradients", "weights", "train", "train_is_last"),
    *("results_validation", "validation", "metrics_validation", "asks_to_stop"),
)
Own = dict[str, Any]


def with_all_ranks(run: Run, own: Own) -> Own:
    """Add what the other ranks know; all ranks have to call this at the same point."""
    own["weights"] = [float(weight) for weight in run.state.weights]
    if not run.state.several or run.failed:
        return own
    own["asks_to_stop"] = run.state.asked_to_stop
    mine = {name: own[name] for name in _OF_A_RANK if name in own}
    if any(map(is_dtensor, own.get("gradients", {}).values())):
        del mine["gradients"]  # all ranks together hold one mean
    return {**own, "ranks": run.strategy.of_all_ranks(mine)}


def of_this_rank(run: Run, own: Own) -> Own:
    """What this rank goes on from: its own part, or its share where their number has changed."""
    parts: list[Own] = own.get("ranks") or [own]
    rank, world = run.strategy.global_rank, run.strategy.world_size
    if len(parts) == world:
        return {**own, **parts[rank]}
    rank_zero_warn(
        f"The run was saved by {len(parts)} processes and goes on with {world}: the rest of the "
        "epoch is dealt anew, no sample is lost or repeated; random numbers are seeded anew from "
        "seed, epoch and batch.",
        category=PossibleUserWarning,
    )
    shared: Own = {
        "rng": None,
        "gradients": _mean_gradients([part.get("gradients", {}) for part in parts])
        or own.get("gradients", {}),
        "weights": [sum(w) / world for w in zip(*(p.get("weights", []) for p in parts))],  # noqa: B905
        "train": parts[0].get("train"),
        "validation": parts[0].get("validation"),
        "asks_to_stop": any(part.get("asks_to_stop", False) for part in parts),
    }
    for name in ("results", "results_validation"):
        shared[name] = _joined_results([p.get(name, []) for p in parts]) if rank == 0 else []
    for name in ("metrics", "metrics_validation"):
        states = [part.get(name, {}) for part in parts]
        shared[name] = joined_metrics(run.module, states) if rank == 0 else {}
    return {**own, **shared}


def seed_anew(run: Run) -> None:
    """Seed all generators of this rank by the place in the run."""
    state = run.state
    generator = torch.Generator()
    for number in (read_int("PL_GLOBAL_SEED") or 0, state.epoch, state.batches_seen):
        drawn = int(torch.randint(2**31, (), generator=generator)) if number else 0
        generator.manual_seed(number + drawn)
    seed = int(torch.randint(2**31, (), generator=generator)) + run.strategy.global_rank
    random.seed(seed)
    torch.manual_seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def _mean_gradients(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of an open window: each rank holds the same part of the mean from now on."""
    names = {name for part in parts for name in part}
    return {
        name: torch.stack([part[name] for part in parts if name in part]).sum(0) / len(parts)
        for name in sorted(names)
    }


def _joined_results(parts: Sequence[list[Any]]) -> list[Any]:
    """Sums and weights of all ranks as if one had logged them."""
    found: dict[Any, Any] = {}
    lasts: dict[Any, list[Any]] = {}
    for part in parts:
        for hook, name, loader, flags, slot in part:
            key = (hook, name, loader)
            answered = slot.get("metric") is not None  # an object, on all ranks the same
            if flags[SYNC] and not answered and slot.get("last") is not None:
                lasts.setdefault(key, []).append(slot["last"])
            if key not in found or answered or flags[GRAPH] or slot.get("total") is None:
                found.setdefault(key, [hook, name, loader, flags, dict(slot)])
                continue
            into, kind = found[key][4], reduction(flags[REDUCE])
            into["weight"] = into["weight"] + slot["weight"]
            if kind in ("mean", "sum"):
                into["total"] = into["total"] + slot["total"]
            elif into["total"] is not None:
                pair = torch.as_tensor(into["total"]), torch.as_tensor(slot["total"])
                into["total"] = getattr(torch, f"{kind}imum")(*pair)
    for key, values in lasts.items():
        found[key][4]["last"] = _of_all(values, reduction(found[key][3][REDUCE]))
    return list(found.values())


def _of_all(values: list[Any], kind: str) -> Any:
    """What single values of ranks come to: a number if they are."""
    stacked = torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values])
    joined: Tensor = getattr(stacked, kind)()
    first = values[0]
    return joined.to(first.dtype) if isinstance(first, Tensor) else joined.item()


def joined_metrics(module: nn.Module, parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """States of metric objects of all ranks, reduced as each object says."""
    found: dict[str, Any] = {}
    for name in sorted({name for part in parts for name in part}):
        states = [part[name] for part in parts if name in part]
        reductions = getattr(module.get_submodule(name), "_reductions", {})
        joined = dict(states[0])
        for key in joined:
            values = [state[key] for state in states]
            if key == "_update_count":
                joined[key] = sum(values)
            elif isinstance(values[0], list):
                joined[key] = [item for value in values for item in value]
            elif (reduce := reductions.get(key)) is not None and isinstance(values[0], Tensor):
                tensors = [v.reshape(-1) if v.ndim == 0 else v for v in values]
                whole = torch.cat(tensors) if "cat" in reduce.__name__ else torch.stack(values)
                joined[key] = reduce(whole)
        found[name] = joined
    return found
