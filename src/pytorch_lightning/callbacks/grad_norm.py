"""The norms of gradients, logged before they are clipped."""

from typing import TYPE_CHECKING

from torch.optim import Optimizer

from pytorch_lightning.core.callback import Callback
from pytorch_lightning.utilities.grads import grad_norm

if TYPE_CHECKING:
    import pytorch_lightning as pl


class GradNormLogger(Callback):
    """Logs the norm of each parameter's gradient and their total, as `track_grad_norm` of 1.x.

    Args:
        norm_type: The p of the norm; 'inf' for the largest element.
    """

    def __init__(self, norm_type: float | str = 2.0) -> None:
        self.norm_type = float(norm_type)

    def on_before_optimizer_step(
        self, trainer: "pl.Trainer", pl_module: "pl.LightningModule", optimizer: Optimizer
    ) -> None:
        norms = grad_norm(pl_module, norm_type=self.norm_type)
        pl_module.log_dict(norms, on_step=True, on_epoch=True)
