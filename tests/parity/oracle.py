"""The oracle: what a training run must compute, as one plain loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@dataclass(frozen=True)
class Recipe:
    """A training run: the loss of a batch for one optimizer, and everything around it."""

    optimizers: Callable[[nn.Module], list[Optimizer]]
    loss: Callable[[Any, Any, int], Tensor]
    epochs: int = 2
    accumulate: int = 1
    clip: tuple[str, float] | None = None  # 'norm' or 'value'
    scheduler: Callable[[Optimizer], Any] | None = None
    every: str = "epoch"  # or 'step'
    frequencies: tuple[int, ...] = ()  # batches in a row for each optimizer, from the epoch's start


@dataclass
class Outcome:
    """What a run leaves behind."""

    losses: list[float] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)


def train(module: nn.Module, loader: Any, recipe: Recipe) -> Outcome:
    """Train as one would by hand; a window that ends early is averaged over what it holds."""
    optimizers = recipe.optimizers(module)
    schedulers = [recipe.scheduler(o) for o in optimizers] if recipe.scheduler else []
    outcome, size = Outcome(), recipe.accumulate
    for _ in range(recipe.epochs):
        held = 0
        for index, batch in enumerate(loader):
            held += 1
            full = held == size or index == len(loader) - 1
            for idx in _turn(recipe.frequencies, len(optimizers), index):
                optimizer = optimizers[idx]
                needed = _freeze_others(module, optimizer) if len(optimizers) > 1 else []

                def closure(idx=idx, optimizer=optimizer, batch=batch, held=held, full=full):
                    loss = recipe.loss(module, batch, idx)
                    if held == 1:
                        optimizer.zero_grad()
                    (loss / size).backward()
                    outcome.losses.append(loss.item())
                    if full:
                        _finish(optimizer, size / held, recipe.clip)
                    return loss

                optimizer.step(closure) if full else closure()
                for parameter in needed:
                    parameter.requires_grad = True
            if full:
                held = 0
                outcome.rates.append(optimizers[0].param_groups[0]["lr"])
                _step(schedulers, due=recipe.every == "step")
        _step(schedulers, due=recipe.every == "epoch")
    outcome.weights = {k: v.detach().clone() for k, v in module.state_dict().items()}
    return outcome


def _turn(frequencies: tuple[int, ...], count: int, index: int) -> list[int]:
    if not frequencies:
        return list(range(count))
    place = index % sum(frequencies)
    return [next(i for i in range(count) if place < sum(frequencies[: i + 1]))]


def _freeze_others(module: nn.Module, optimizer: Optimizer) -> list[nn.Parameter]:
    mine = {id(p) for group in optimizer.param_groups for p in group["params"]}
    others = [p for p in module.parameters() if p.requires_grad and id(p) not in mine]
    for parameter in others:
        parameter.requires_grad = False
    return others


def _finish(optimizer: Optimizer, correction: float, clip: tuple[str, float] | None) -> None:
    parameters = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    if correction != 1:
        for parameter in parameters:
            parameter.grad.mul_(correction)
    if clip is not None and clip[0] == "norm":
        torch.nn.utils.clip_grad_norm_(parameters, clip[1])
    elif clip is not None:
        torch.nn.utils.clip_grad_value_(parameters, clip[1])


def _step(schedulers: list[Any], *, due: bool) -> None:
    for scheduler in schedulers if due else ():
        scheduler.step()
