"""A run of several ranks that was saved in the middle goes on as if it had not been stopped."""

import os
from pathlib import Path

import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, Dataset

import pytorch_lightning as pl

QUIET = dict(
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


class Samples(Dataset):
    """Numbered samples with noise that is drawn where they are made."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index, torch.randn(3, dtype=torch.float64)


class Noted(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.2), nn.Linear(4, 1)).double()
        self.seen, self.logged = [], []

    def training_step(self, batch, batch_idx):
        ids, values = batch
        self.seen.append([self.current_epoch, ids.tolist()])
        loss = self.layers(values).pow(2).mean()
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        self.log("own", loss, on_epoch=True, on_step=False)
        return loss

    def on_train_epoch_end(self):
        pass

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.9)]


class Saves(pl.Callback):
    def __init__(self, folder, batches):
        self.folder, self.batches = folder, batches

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        number = trainer.fit_loop.total_batch_idx
        if number in self.batches:
            trainer.save_checkpoint(Path(self.folder, f"{number}.ckpt"))


class Metrics(pl.Callback):
    def __init__(self):
        self.found = []

    def on_train_epoch_end(self, trainer, module):
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.found.append(metrics)


def _run(folder, path=None, save=(), accumulate=2, workers=0, size=23):
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    pl.seed_everything(7, verbose=False)
    torch.manual_seed(rank if path is None else 99)
    module, metrics = Noted(), Metrics()
    loader = DataLoader(Samples(size), batch_size=2, shuffle=True, num_workers=workers)
    trainer = pl.Trainer(
        devices=world,
        strategy="ddp",
        max_epochs=2,
        accumulate_grad_batches=accumulate,
        callbacks=[metrics, Saves(folder, save)],
        **QUIET,
    )
    trainer.fit(module, loader, ckpt_path=path)
    weights = torch.cat([p.detach().flatten() for p in module.parameters()]).tolist()
    return {
        "weights": weights,
        "seen": module.seen,
        "metrics": metrics.found,
        "step": trainer.global_step,
    }


def _all_points(folder):
    points = range(12)
    whole = _run(folder, save=points)
    return whole, {k: _run(folder, Path(folder, f"{k}.ckpt")) for k in points}


def test_every_batch_on_two_ranks(tmp_path):
    for whole, resumed in run_ranks(_all_points, 2, str(tmp_path), limit=90):
        assert len(whole["seen"]) == 12
        for batch, found in resumed.items():
            assert found["seen"] == whole["seen"][batch + 1 :], batch
            assert found["weights"] == whole["weights"], batch
            assert found["step"] == whole["step"], batch
            assert found["metrics"] == whole["metrics"][-len(found["metrics"]) :], batch


def _samples_of(world, epoch, found):
    return sorted(i for rank in found for e, ids in rank["seen"] if e == epoch for i in ids)


def test_another_number_of_ranks_sees_the_rest_of_the_epoch(tmp_path):
    """24 samples: what was seen before and after is the whole epoch, nothing twice."""
    for before, after in [(2, 1), (1, 2), (2, 3), (3, 2)]:
        folder = tmp_path / f"{before}{after}"
        folder.mkdir()
        batch = {1: 5, 2: 2, 3: 1}[before]
        saved = run_ranks(_run, before, str(folder), None, (batch,), 1, 0, 24)
        seen = [i for rank in saved for e, ids in rank["seen"][: batch + 1] for i in ids]
        path = str(folder / f"{batch}.ckpt")
        found = run_ranks(_run, after, str(folder), path, (), 1, 0, 24)
        rest = _samples_of(after, 0, found)
        assert sorted(seen + rest) == list(range(24)), (before, after)
        assert _samples_of(after, 1, found) == list(range(24))
        assert all(rank["weights"] == found[0]["weights"] for rank in found)
