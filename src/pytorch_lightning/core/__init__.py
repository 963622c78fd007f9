"""What users write: modules and datamodules."""

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule

__all__ = ["LightningDataModule", "LightningModule"]
