"""One small run whose numbers are easy to work out by hand."""

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger


class Rows(Logger):
    """A logger that keeps what it is given: (x, numbers)."""

    name, version = "rows", 0

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *args, **kwargs):
        """Nothing is asked about them here."""

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def of(self, name):
        """The curve of one tag: (x, value)."""
        return [(x, numbers[name]) for x, numbers in self.rows if name in numbers]


class Plain(pl.LightningModule):
    """Trains on the mean of a batch, and logs nothing."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def numbers(count: int, batch_size: int = 2, **options: Any) -> DataLoader:
    """Batches of 0, 1, 2 ... as a column."""
    return DataLoader(torch.arange(count).float()[:, None], batch_size=batch_size, **options)


def trainer(**arguments: Any) -> pl.Trainer:
    """A quiet trainer that sends every step to `Rows`."""
    quiet = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": Rows(),
        "log_every_n_steps": 1,
        "num_sanity_val_steps": 0,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**{**quiet, **arguments})


def fitted(module: pl.LightningModule, *loaders: Any, **arguments: Any) -> pl.Trainer:
    """The trainer after one fit."""
    made = trainer(**arguments)
    made.fit(module, *loaders)
    return made


def plain(values: Any, places: int = 6) -> dict[str, float]:
    """Tensors by name as rounded numbers."""
    return {name: round(float(value), places) for name, value in values.items()}
