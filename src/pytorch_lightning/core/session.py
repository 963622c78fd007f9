"""What a module may ask of the run it is attached to."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import LRSchedulerConfig


class Session(Protocol):
    """The verbs behind `self.log`, `self.optimizers` and their like; a run implements them."""

    @property
    def optimizers(self) -> Sequence[LightningOptimizer]:
        """The optimizers of the run, wrapped."""

    @property
    def schedulers(self) -> Sequence[LRSchedulerConfig]:
        """The learning rate schedulers of the run."""

    def record(self, name: str, value: Any, batch_size: int | None, flags: tuple[Any, ...]) -> None:
        """Take a logged value; `flags` are the other arguments of `LightningModule.log`."""

    def record_dict(self, values: Any, batch_size: int | None, flags: tuple[Any, ...]) -> None:
        """Take several logged values, or a collection of metrics."""

    def manual_backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backward through precision and hooks, in manual optimization."""

    def toggle(self, optimizer: Any) -> None:
        """Switch gradients off for parameters that only other optimizers own."""

    def untoggle(self, optimizer: Any) -> None:
        """Switch back what `toggle` switched off."""

    def clip_gradients(self, optimizer: Any, clip_val: float | None, algorithm: str | None) -> None:
        """Clip the gradients of one optimizer's parameters."""

    def all_gather(self, data: Any, group: Any, sync_grads: bool) -> Any:
        """Gather a tree of tensors from all processes."""

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print without breaking the progress bar."""
