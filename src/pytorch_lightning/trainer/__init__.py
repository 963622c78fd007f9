"""The face: one object that runs the rest."""

from pytorch_lightning.trainer.trainer import Trainer
from pytorch_lightning.utilities.seed import seed_everything

__all__ = ["Trainer", "seed_everything"]
