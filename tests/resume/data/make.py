"""Make the file of a run of release 2.6.6 that was saved behind the third batch of an epoch.

Run it in an environment that has the release: `python make.py OUTPUT_FOLDER`.
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl


class Golden(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 3)
        self.head = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        return torch.nn.functional.mse_loss(self.head(self.layer(batch[0])), batch[1])

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 2:
            release = pl.__version__
            self.trainer.save_checkpoint(Path(sys.argv[1]) / f"{release}-third-batch.ckpt")

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


if __name__ == "__main__":
    pl.seed_everything(1)
    x = torch.arange(12, dtype=torch.float32).reshape(6, 2) / 10
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=1)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, max_epochs=2)
    trainer.fit(Golden(), loader)
