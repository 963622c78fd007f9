"""A training script that says nothing about how it is started but the numbers on its command line.

    trained_script.py FOLDER DEVICES NODES

Each process writes its rank, the size of the world and its weights into the folder.
"""

import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel, RandomDataset


class Script(BoringModel):
    def train_dataloader(self):
        torch.manual_seed(3)
        return DataLoader(RandomDataset(32, 16), batch_size=2, shuffle=True)


def train(folder, devices, nodes):
    pl.seed_everything(1)
    module = Script()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        num_nodes=nodes,
        strategy="ddp",
        max_epochs=2,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module)
    weights = [parameter.tolist() for parameter in module.parameters()]
    said = {
        "world": trainer.world_size,
        "local": trainer.local_rank,
        "node": trainer.node_rank,
        "steps": trainer.global_step,
        "weights": weights,
    }
    Path(folder, f"{trainer.global_rank}.json").write_text(json.dumps(said))
    return said


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
