"""What a LightningModule may ask of Fabric, where the loop is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pytorch_lightning.utilities.enums import GradClipAlgorithmType

if TYPE_CHECKING:
    from pytorch_lightning.fabric.fabric import Fabric


class FabricSession:
    """Hands `self.log`, `self.manual_backward` and their like to a Fabric object."""

    def __init__(self, fabric: Fabric, optimizers: Sequence[Any]) -> None:
        self.fabric = fabric
        self.optimizers: Any = list(optimizers)  # wrapped by Fabric, not by the trainer
        self.schedulers: Any = []
        self._switched: dict[nn.Parameter, bool] = {}

    def record(self, name: str, value: Any, batch_size: int | None, flags: tuple[Any, ...]) -> None:
        """Log at once; who writes the loop decides about steps and means."""
        self.fabric.log(name, value)

    def record_dict(
        self, dictionary: Mapping[str, Any], batch_size: int | None, flags: tuple[Any, ...]
    ) -> None:
        """Log several values at once."""
        self.fabric.log_dict(dictionary)

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backward in the precision of Fabric."""
        self.fabric.backward(loss, *args, **kwargs)

    def toggle(self, optimizer: Any) -> None:
        """Switch gradients off for parameters that only other optimizers own."""
        kept = {id(p) for group in optimizer.param_groups for p in group["params"]}
        self._switched = {
            p: p.requires_grad
            for other in self.optimizers
            for group in other.param_groups
            for p in group["params"]
            if id(p) not in kept
        }
        for parameter in self._switched:
            parameter.requires_grad = False

    def untoggle(self, optimizer: Any) -> None:
        """Switch back what `toggle` switched off."""
        for parameter, before in self._switched.items():
            parameter.requires_grad = before

    def clip_gradients(self, optimizer: Any, clip_val: float | None, algorithm: str | None) -> None:
        """Clip through the precision of Fabric."""
        inside = getattr(optimizer, "optimizer", optimizer)
        precision = self.fabric.strategy.precision_plugin
        precision.unscale_gradients(inside)
        precision.clip_gradients(
            inside, clip_val or 0.0, GradClipAlgorithmType(algorithm or "norm")
        )

    def all_gather(self, data: Any, group: Any, sync_grads: bool) -> Any:
        """Gather a tree of tensors from all processes."""
        return self.fabric.all_gather(data, group=group, sync_grads=sync_grads)

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print once for all processes."""
        self.fabric.print(*args, **kwargs)


def do_nothing(*_: Any) -> None:
    """Stand in for `launch()` without a function."""
