"""The verbs of a training loop, and the parts behind them."""

from pytorch_lightning.fabric.fabric import Fabric
from pytorch_lightning.fabric.wrappers import is_wrapped
from pytorch_lightning.utilities.seed import seed_everything

__all__ = ["Fabric", "is_wrapped", "seed_everything"]
