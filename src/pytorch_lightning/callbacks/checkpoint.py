"""What marks a callback as one that writes checkpoints."""

from pytorch_lightning.core.callback import Callback


class Checkpoint(Callback):
    """A callback that writes checkpoints: it runs after all others.

    Attributes:
        saves_regularly: Whether a successful run leaves files behind, so that no other
            checkpoint callback is needed.
    """

    meets_idle_ranks = monitors_metrics = True
    saves_regularly: bool = True
