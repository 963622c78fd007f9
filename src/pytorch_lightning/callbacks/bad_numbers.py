"""Which numbers are not finite, found out and kept on the device, so that the host never waits."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_NEVER = torch.iinfo(torch.int64).max


def finite_gradients(optimizer: Any, device: torch.device) -> Tensor | None:
    """Whether the norm of an optimizer's gradients is finite; None where it has no gradient.

    Of a gradient that is divided among processes, this one's part is looked at.
    """
    found = [p.grad for group in optimizer.param_groups for p in group["params"]]
    return _finite((gradient for gradient in found if gradient is not None), device, order=2.0)


@torch.no_grad()
def _finite(tensors: Iterable[Any], device: torch.device, *, order: float) -> Tensor | None:
    """Whether the norm of each tensor is finite, as one value on the device; None without any.

    Sixteen bits are summed up in 32: a norm may be greater than what they can hold.
    """
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for tensor in tensors:
        part = tensor.to_local() if hasattr(tensor, "to_local") else tensor
        part = part._values() if part.is_sparse else part
        if part.numel() and part.dtype.itemsize > 1:  # nothing computes norms of 8 bits
            alike.setdefault((part.device, part.dtype), []).append(part.detach())
    found = None
    for (_, dtype), parts in alike.items():
        wide = torch.float32 if dtype.itemsize == 2 else None
        norms = torch.stack(torch._foreach_norm(parts, order, dtype=wide))
        finite = norms.isfinite().all().to(device, non_blocking=True)
        found = finite if found is None else found & finite
    return found


class FirstBad:
    """The number of the first batch whose loss, or whose gradient, was not finite.

    Both lie on the device and are read by `read` alone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.loss = self.gradient = self._never = torch.tensor(_NEVER, device=device)

    def see_loss(self, loss: Tensor, batch: int) -> None:
        """Look at a loss; batches come with growing numbers."""
        finite = loss.detach().to(self.device, non_blocking=True).isfinite().all()
        self.loss = torch.where(finite, self.loss, self.loss.clamp(max=batch))

    def see_gradients(self, finite: Tensor, batch: int) -> None:
        """Take in what `finite_gradients` found."""
        self.gradient = torch.where(finite, self.gradient, self.gradient.clamp(max=batch))

    def read(self) -> tuple[int | None, int | None]:
        """The numbers for loss and gradient, or None, and begin anew; the host waits here."""
        found = torch.stack([self.loss, self.gradient]).tolist()
        self.loss = self.gradient = self._never
        loss, gradient = (None if number == _NEVER else number for number in found)
        return loss, gradient


def has_bad_weights(module: torch.nn.Module, device: torch.device) -> bool:
    """Whether a parameter is not finite in the part that this process holds; the host waits."""
    weights = (p for p in module.parameters() if p.is_floating_point() or p.is_complex())
    finite = _finite(weights, device, order=float("inf"))
    return finite is not None and not bool(finite)
