"""Small modules and data for tests, bug reports and demonstrations."""

from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel, DemoModel
from pytorch_lightning.demos.lstm import LightningLSTM, SequenceSampler, SimpleLSTM
from pytorch_lightning.demos.transformer import LightningTransformer, Transformer, WikiText2

__all__ = [
    "BoringDataModule",
    "BoringModel",
    "DemoModel",
    "LightningLSTM",
    "LightningTransformer",
    "SequenceSampler",
    "SimpleLSTM",
    "Transformer",
    "WikiText2",
]
