"""What is trained: models, batches from memory, and a clock that lies in the data."""

from collections.abc import Iterator
from time import thread_time_ns

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

Batch = tuple[Tensor, Tensor]
_DIFFERENT = 8


def make_net(kind: str) -> nn.Module:
    """The tiniest model, or one whose step takes about a millisecond."""
    torch.manual_seed(0)
    if kind == "linear":
        return nn.Linear(32, 2)
    widths = (784, 64, 3, 64, 784)
    layers: list[nn.Module] = []
    for width, following in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make_optimizer(kind: str, net: nn.Module) -> torch.optim.Optimizer:
    """SGD for the tiniest model, Adam for the other."""
    if kind == "linear":
        return torch.optim.SGD(net.parameters(), lr=0.01)
    return torch.optim.Adam(net.parameters())


def make_batches(kind: str) -> list[Batch]:
    """A few batches that lie in memory."""
    torch.manual_seed(1)
    if kind == "linear":
        return [(torch.randn(16, 32), torch.randn(16, 2)) for _ in range(_DIFFERENT)]
    return [(x, x) for x in (torch.rand(32, 784) for _ in range(_DIFFERENT))]


def batch_loss(net: nn.Module, batch: Batch) -> Tensor:
    """The loss that every loop here computes."""
    x, y = batch
    return mse_loss(net(x), y)


class Clocked:
    """So many batches; notes the CPU time of the thread when it hands out certain ones.

    The time of a step is taken from batch to batch, so that it holds all that a loop does.

    Args:
        count: How many batches one pass has.
        warmup: How many of them pass before the clock starts.
    """

    def __init__(self, kind: str, count: int, warmup: int) -> None:
        self._batches = make_batches(kind)
        self._count = count
        self._warmup = warmup
        self.passes: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Batch]:
        began = 0
        for index in range(self._count):
            if index == self._warmup:
                began = thread_time_ns()
            if index == self._count - 1:
                self.passes.append((began, thread_time_ns()))
            yield self._batches[index % _DIFFERENT]

    @property
    def microseconds(self) -> float:
        """Microseconds of CPU per batch of the latest pass."""
        began, ended = self.passes[-1]
        return (ended - began) / 1e3 / (self._count - 1 - self._warmup)
