"""A module that notes what is called on it, batches that can be recognised, and quiet trainers."""

import torch
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl


def numbers(count=8, batch_size=2, start=0, **options):
    """A loader of rows that hold their own index."""
    rows = [torch.full((2,), float(start + index)) for index in range(count)]
    return DataLoader(rows, batch_size=batch_size, **options)


class Endless:
    """Batches without end or, with `count`, without a length."""

    def __init__(self, count=None):
        self.count = count
        self.given = 0

    def __iter__(self):
        index = 0
        while self.count is None or index < self.count:
            self.given += 1
            yield torch.full((2, 2), float(index))
            index += 1


class Watched(pl.LightningModule):
    """One linear layer with all steps; `seen` holds `(event, ...)` in the order of events."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.seen = []

    def forward(self, x):
        return self.layer(x)

    def note(self, event, *values):
        self.seen.append((event, *values) if values else event)

    def training_step(self, batch, batch_idx):
        self.note("train", self.current_epoch, batch_idx)
        return self(batch).square().mean() * 1e-3

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.note("sanity" if self.trainer.sanity_checking else "val", batch_idx)
        self.log("val_mean", batch.mean())

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.note("test", batch_idx)
        self.log("test_mean", batch.mean())

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        self.note("predict", batch_idx)
        return batch[:, 0]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def count(self, event):
        """How often something happened."""
        return sum(entry == event or entry[0] == event for entry in self.seen)

    def validated_after(self):
        """How many training batches had run at the start of each validation."""
        found, trained, inside = [], 0, False
        for entry in self.seen:
            if entry[0] == "train":
                trained, inside = trained + 1, False
            elif entry[0] == "val" and not inside:
                found.append(trained)
                inside = True
        return found


class WithLoaders(Watched):
    """The same, with loaders of its own: 4 batches to train on, 2 of everything else."""

    def train_dataloader(self):
        return numbers(8)

    def val_dataloader(self):
        return numbers(4)

    def test_dataloader(self):
        return numbers(4, start=10)

    def predict_dataloader(self):
        return numbers(4, start=20)


class Numbers(pl.LightningDataModule):
    """The loaders in a datamodule; `seen` holds the names of its hooks as they are called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def prepare_data(self):
        self.seen.append("prepare_data")

    def setup(self, stage):
        self.seen.append(f"setup {stage}")

    def teardown(self, stage):
        self.seen.append(f"teardown {stage}")

    def train_dataloader(self):
        self.seen.append("train_dataloader")
        return numbers(8)

    def val_dataloader(self):
        self.seen.append("val_dataloader")
        return numbers(4)

    def test_dataloader(self):
        self.seen.append("test_dataloader")
        return numbers(4, start=10)

    def predict_dataloader(self):
        self.seen.append("predict_dataloader")
        return numbers(4, start=20)


def quiet(**arguments):
    """A trainer of one epoch that shows and writes nothing, unless told otherwise."""
    defaults = {
        "max_epochs": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **arguments})
