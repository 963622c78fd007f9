"""What one mistake is: a program, the error it must get, and how early."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.utils.data import DataLoader, Dataset

import pytorch_lightning as pl

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "max_epochs": 1,
}


@dataclass
class Mistake:
    """A program that must end in one clear error.

    Attributes:
        says: Words of the message: the argument, the value, the cure.
        steps: Training steps that may have begun by then; 0 means that no sample was read.
    """

    name: str
    program: Callable[[], object]
    error: type[BaseException]
    says: tuple[str, ...]
    steps: int = 0
    environment: dict[str, str] = field(default_factory=dict)


class Seen:
    """How far a program came."""

    def __init__(self):
        self.samples = self.steps = 0


seen = Seen()


class Rows(Dataset):
    """Rows of ones that count how often they are read."""

    def __init__(self, length=8):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        seen.samples += 1
        return torch.ones(4)


class Module(pl.LightningModule):
    """A module without a mistake; each case spoils one thing."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch, batch_idx):
        seen.steps += 1
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).mean())

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.layer(batch).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return rows()


def rows(length=8, **options):
    """A loader of two samples per batch."""
    return DataLoader(Rows(length), **{"batch_size": 2, **options})


def plain(length=8):
    """A validation loader, whose reads are not counted."""
    return DataLoader(torch.ones(length, 4), batch_size=2)


def stream():
    """Batches without a length."""
    return (torch.ones(2, 4) for _ in range(3))


def trainer(**options):
    """A trainer that prints and writes nothing."""
    return pl.Trainer(**{**QUIET, **options})


def fit(module, **options):
    """Train a module on its own loader."""
    trainer(**options).fit(module, val_dataloaders=plain())


def spoiled(**methods):
    """A module with other methods; None takes one away."""
    bases = (Module,)
    if None in methods.values():
        kept = {k: v for k, v in vars(Module).items() if k not in methods and k[:2] != "__"}
        gone = type("Model", (pl.LightningModule,), {**kept, "__init__": _init})
        methods = {name: method for name, method in methods.items() if method is not None}
        bases = (gone,)
    return type("Model", bases, methods)()


def _init(self):
    pl.LightningModule.__init__(self)
    self.layer = torch.nn.Linear(4, 2)
