"""Independent implementation of the documented PyTorch Lightning API."""

import gc
import importlib
from typing import TYPE_CHECKING

_collects_garbage = gc.isenabled()
gc.disable()  # importing makes only what stays; a full collection after torch takes 0.1 s
try:
    from pytorch_lightning import _aliases
    from pytorch_lightning.__about__ import __version__ as __version__
    from pytorch_lightning.core.callback import Callback
    from pytorch_lightning.core.datamodule import LightningDataModule
    from pytorch_lightning.core.module import LightningModule
    from pytorch_lightning.trainer.trainer import Trainer
    from pytorch_lightning.utilities.console import LIGHTNING_LOGO as LIGHTNING_LOGO
    from pytorch_lightning.utilities.console import cli_lightning_logo as cli_lightning_logo
    from pytorch_lightning.utilities.console import prepare_logger
    from pytorch_lightning.utilities.imports import module_available as module_available
    from pytorch_lightning.utilities.seed import seed_everything
    from pytorch_lightning.utilities.warnings import (
        disable_possible_user_warnings as disable_possible_user_warnings,
    )
finally:
    if _collects_garbage:
        if not gc.get_freeze_count():  # of the program
            gc.freeze()
            gc.unfreeze()  # all is old now, and the next collection is not for our imports
        gc.enable()

if TYPE_CHECKING:
    from pytorch_lightning import demos as demos
    from pytorch_lightning import fabric as fabric
    from pytorch_lightning import tuner as tuner
    from pytorch_lightning.fabric import Fabric as Fabric

__all__ = ["Callback", "LightningDataModule", "LightningModule", "Trainer", "seed_everything"]

prepare_logger(__name__)
_late_names = _aliases.late_names("")
_SUBMODULES = frozenset(
    {
        "accelerators",
        "callbacks",
        "cli",
        "core",
        "demos",
        "fabric",
        "lite",
        "loggers",
        "loops",
        "metrics",
        "overrides",
        "plugins",
        "profiler",
        "profilers",
        "serve",
        "strategies",
        "testing",
        "trainer",
        "tuner",
        "utilities",
    }
)


def __getattr__(name: str) -> object:
    """Import the parts that few programs touch when they are first asked for."""
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    return _late_names(name)
