"""A program that trains until somebody ends it.

Usage: leaves.py DEVICES FOLDER
"""

import sys
import time
from pathlib import Path

import torch

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel


class Says(Callback):
    """Leaves a file when training goes on."""

    def __init__(self, folder):
        self.folder = folder

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        time.sleep(0.02)
        if batch_idx == 3:
            (self.folder / f"trains{trainer.global_rank}").touch()


def main(devices, folder):
    folder = Path(folder)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=int(devices),
        strategy="ddp" if devices != "1" else "auto",
        max_epochs=1000,
        limit_val_batches=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Says(folder), ModelCheckpoint(folder / "kept", every_n_epochs=10**6)],
    )
    trainer.fit(BoringModel())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
