"""A small module, a quiet trainer and a logger that remembers, for tests of whole programs."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.loggers.logger import Logger


def rows(count=8, seed=0):
    """Random rows of four numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator)


def loader(count=8, batch_size=2, **options):
    """A loader of tuples with one tensor of `count` rows."""
    return DataLoader(TensorDataset(rows(count)), batch_size=batch_size, **options)


class Small(pl.LightningModule):
    """One linear layer with all steps; four training batches, two of everything else."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        return self.layer(x)

    def loss(self, batch):
        return self(batch[0]).square().mean()

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.loss(batch))

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return loader(8)

    def val_dataloader(self):
        return loader(4)

    def test_dataloader(self):
        return loader(4)

    def predict_dataloader(self):
        return loader(4)


def trainer(**arguments):
    """A trainer of one epoch that shows and writes nothing, unless told otherwise."""
    quiet = {
        "max_epochs": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    if "callbacks" not in arguments:
        quiet["enable_checkpointing"] = False
    return pl.Trainer(**{**quiet, **arguments})


class Memory(Logger):
    """A logger that keeps every call, as tuples that start with the name of the method."""

    def __init__(self, save_dir=None, name="memory", version=0):
        self.calls = []
        self._save_dir, self._name, self._version = save_dir, name, version

    @property
    def name(self):
        return self._name

    @property
    def version(self):
        return self._version

    @property
    def save_dir(self):
        return self._save_dir

    def log_metrics(self, metrics, step=None):
        self.calls.append(("metrics", dict(metrics), step))

    def log_hyperparams(self, params, *args, **kwargs):
        self.calls.append(("hyperparams", dict(params)))

    def log_graph(self, model, input_array=None):
        self.calls.append(("graph", type(model).__name__))

    def finalize(self, status):
        self.calls.append(("finalize", status))

    def after_save_checkpoint(self, checkpoint_callback):
        self.calls.append(("saved", checkpoint_callback.best_model_path))

    def of(self, kind):
        """The calls of one kind."""
        return [call[1:] for call in self.calls if call[0] == kind]

    def points(self, name):
        """All `(x, value)` of a metric."""
        return [(step, values[name]) for values, step in self.of("metrics") if name in values]
