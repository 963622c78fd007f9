"""A small training that depends on everything a checkpoint has to hold, and tells what it does."""

import os
import random
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.sharded import Party, save_sharded
from pytorch_lightning.core import hparams_files
from pytorch_lightning.distributed.process_group import part
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.strategies import FSDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from pytorch_lightning.utilities.seed import seed_everything

FOLDER = "saved"
ROWS = "logs/rows/metrics.csv"
WAYS = {
    "each step": {"every": 1, "last": True},
    "windows": {"every": 2, "last": True, "accumulate": 2, "size": 20},
    "a link": {"every": 1, "last": "link"},
    "workers": {"every": 2, "last": True, "workers": 2, "size": 8},
}


class Samples(Dataset):
    """Numbered samples with noise of two generators."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.arange(4.0) + index / 10 + torch.rand(4) + random.random()


class Net(pl.LightningModule):
    """Dropout, batch statistics and momenta; what it logs tells one step from the next."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1)
        )

    def training_step(self, batch, batch_idx):
        loss = self.net(batch).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.net(batch).square().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.05)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class Telling(CSVLogger):
    """Tells a pipe of each step that is saved, once all its files are there."""

    pipe = -1

    def after_save_checkpoint(self, checkpoint_callback):
        tell(self.pipe, f"s {checkpoint_callback._turn_step}")


def tell(pipe, line):
    if pipe >= 0:
        os.write(pipe, f"{line}\n".encode())


def tell_of_saves(pipe):
    """Tell when a file is begun and when it is about to get its name."""

    beginning = f"{FOLDER}/.saving-"

    def listen(event, args):
        if (
            event == "os.mkdir"
            and beginning in str(args[0])
            or event == "open"
            and beginning in str(args[0])
            and args[2] & os.O_CREAT
        ):
            tell(pipe, "b")
        elif event == "os.rename" and beginning in str(args[0]):
            tell(pipe, "r")

    sys.addaudithook(listen)


def warm_up(home):
    """Import what a training and a save need."""
    train(home, "each step", None, 1)
    save_sharded({"epoch": 1}, os.path.join(home, "parts"), Party())
    hparams_files.save_hparams_to_yaml(os.path.join(home, "hparams.yaml"), {"a": 1})


def train(home, way, ckpt_path, seed, pipe=-1):
    """Train to the end; what there is to compare lies in `result.pt` then."""
    options = WAYS[way]
    os.chdir(home)
    if pipe >= 0:
        tell_of_saves(pipe)
    seed_everything(seed, verbose=False)
    workers = options.get("workers", 0)
    train_data = DataLoader(Samples(options.get("size", 12)), 2, shuffle=True, num_workers=workers)
    saver = keeper(options["every"], options["last"])
    accumulate = options.get("accumulate", 1)
    trainer = trainer_of(home, saver, pipe, accumulate_grad_batches=accumulate)
    module = Net()
    trainer.fit(module, train_data, DataLoader(Samples(4), 2), ckpt_path=ckpt_path)
    keep_result(module.state_dict(), trainer.optimizers[0].state_dict(), saver)
    tell(pipe, "d")


def train_rank(home, strategy, ckpt_path, seed, variables, pipe=-1):
    """Train as one of two ranks."""
    os.environ.update(variables)
    rank_zero_only.rank = int(variables["RANK"])
    os.chdir(home)
    if pipe >= 0:
        tell_of_saves(pipe)
    seed_everything(seed, verbose=False)
    saver = keeper(1, True)
    trainer = trainer_of(home, saver, pipe, devices=2, strategy=STRATEGIES[strategy]())
    module = Net()
    train_data = DataLoader(Samples(16), 2, shuffle=True)
    trainer.fit(module, train_data, DataLoader(Samples(8), 2), ckpt_path=ckpt_path)
    weights, optimizer = whole(module.state_dict()), whole(trainer.optimizers[0].state_dict())
    if trainer.is_global_zero:
        keep_result(weights, optimizer, saver)
    trainer.strategy.barrier()
    tell(pipe, "d")
    part(failed=False)


def whole(value):
    """A state whose divided tensors are put together; all ranks have to call this."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return value.full_tensor() if hasattr(value, "full_tensor") else value


STRATEGIES = {
    "ddp": lambda: "ddp",
    "fsdp": lambda: FSDPStrategy(state_dict_type="sharded"),
}


def keeper(every, last):
    return ModelCheckpoint(
        FOLDER,
        filename="{step}",
        monitor="loss",
        save_top_k=2,
        save_last=last,
        every_n_train_steps=every,
    )


def trainer_of(home, saver, pipe, **options):
    logger = Telling(home, "logs", "rows", flush_logs_every_n_steps=1)
    logger.pipe = pipe
    return pl.Trainer(
        max_epochs=2,
        callbacks=[saver],
        logger=logger,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **options,
    )


def keep_result(weights, optimizer, saver):
    found = {
        "weights": weights,
        "optimizer": optimizer,
        "best": {Path(name).name: float(v) for name, v in saver.best_k_models.items()},
        "last": Path(saver.last_model_path).name,
    }
    torch.save(found, "result.new")
    os.replace("result.new", "result.pt")
