"""Independent implementation of the documented PyTorch Lightning API."""

import importlib

from pytorch_lightning import _aliases
from pytorch_lightning.__about__ import __version__
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.trainer.trainer import Trainer
from pytorch_lightning.utilities.console import (
    LIGHTNING_LOGO,
    cli_lightning_logo,
    prepare_logger,
)
from pytorch_lightning.utilities.imports import module_available
from pytorch_lightning.utilities.seed import seed_everything
from pytorch_lightning.utilities.warnings import disable_possible_user_warnings

__all__ = [
    "LIGHTNING_LOGO",
    "Callback",
    "LightningDataModule",
    "LightningModule",
    "Trainer",
    "__version__",
    "cli_lightning_logo",
    "disable_possible_user_warnings",
    "module_available",
    "seed_everything",
]

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
        "trainer",
        "tuner",
        "utilities",
    }
)


def __getattr__(name: str) -> object:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    return _late_names(name)
