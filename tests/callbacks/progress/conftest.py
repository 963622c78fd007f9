"""A terminal to draw on, and something to show on it."""

import fcntl
import os
import pty
import struct
import sys
import termios
import threading

import pytest
import torch
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import RandomDataset

WIDTH = 120


class Terminal:
    """A pseudo-terminal of 120 columns that remembers all that is written to it."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, WIDTH, 0, 0))
        self.out = os.fdopen(slave, "w", buffering=1, encoding="utf-8")
        self._written = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._master, 65536)
            except OSError:  # Linux says EIO once the other side is closed
                return
            if not part:
                return
            self._written += part

    def __enter__(self) -> None:
        # in a fixture pytest would put its own output back before the test begins
        self._before, sys.stdout = sys.stdout, self.out

    def __exit__(self, *_: object) -> None:
        sys.stdout = self._before

    def close(self) -> str:
        """Turn it off; return all that was written."""
        if not self.out.closed:
            self.out.close()
            self._reader.join(timeout=10)
            os.close(self._master)
        return self._written.decode()

    def screen(self) -> list[str]:
        """Turn it off; return the lines that a person sees in the end."""
        lines, row, column = [[]], 0, 0
        text = self.close().replace("\x1b[A", "\x00")
        for letter in text:
            if letter == "\r":
                column = 0
            elif letter == "\n":
                row, column = row + 1, 0
            elif letter == "\x00":
                row = max(row - 1, 0)
            else:
                lines[row][column : column + 1] = [letter]
                column += 1
            while len(lines) <= row:
                lines.append([])
        return [line for line in ("".join(line).rstrip() for line in lines) if line]


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


class Shown(pl.LightningModule):
    """A model with something behind the bar."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(32, 2)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.001)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).square().mean()
        self.log("train_loss", loss, prog_bar=True)
        self.log("hidden", loss)
        if batch_idx == 1:
            self.print("hello", "world")
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("val_loss", torch.tensor(0.5), prog_bar=True, add_dataloader_idx=False)

    def test_step(self, batch, batch_idx, dataloader_idx=0):
        self.layer(batch)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self.layer(batch)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Shown()


def _make_loader(batches: int) -> DataLoader:
    return DataLoader(RandomDataset(32, batches))


@pytest.fixture
def loader():
    """A function that makes a loader of so many batches of one sample."""
    return _make_loader
