"""Exact resumption whatever the random numbers come from, and in parts of whole epochs."""

import numpy
import pytest
import torch
import torchmetrics
from tests.resume.matrix import Cell, Net, Samples, assert_same, check, loader, train
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    RandomSampler,
    WeightedRandomSampler,
)

import pytorch_lightning as pl


class Drawn(Samples):
    """Adds noise from NumPy's global generator."""

    def __getitem__(self, index):
        number, x = super().__getitem__(index)
        return number, x + float(numpy.random.rand())


class Seeded(Samples):
    """Draws from a generator of its own number, as augmentation libraries do."""

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return index, torch.rand(4, generator=generator)


def own_generator():
    return DataLoader(Samples(7), 2, shuffle=True, generator=torch.Generator().manual_seed(5))


def own_sampler():
    return DataLoader(Samples(7), 2, sampler=RandomSampler(Samples(7), replacement=True))


def weighted():
    return DataLoader(Samples(7), 2, sampler=WeightedRandomSampler([1.0] * 7, 7))


def by_epoch():
    sampler = DistributedSampler(Samples(7), num_replicas=1, rank=0, shuffle=True)
    return DataLoader(Samples(7), 2, sampler=sampler)


def batches_of_indices():
    return DataLoader(Samples(7), batch_sampler=BatchSampler(RandomSampler(range(7)), 2, True))


LOADERS = {
    "numpy": lambda: DataLoader(Drawn(7), 2, shuffle=True),
    "own generator per sample": lambda: DataLoader(Seeded(7), 2, shuffle=True),
    "generator of the loader": own_generator,
    "sampler with replacement": own_sampler,
    "weights": weighted,
    "sampler that is told the epoch": by_epoch,
    "batch sampler": batches_of_indices,
    "in memory": lambda: [(torch.arange(2), torch.rand(2, 4)) for _ in range(3)],
    "drop_last": lambda: loader(7, drop_last=True),
}


@pytest.mark.parametrize("hook", ["on_train_batch_end", "training_step"])
@pytest.mark.parametrize("name", LOADERS)
def test_loaders(name, hook, tmp_path):
    if name == "in memory":
        batches = LOADERS[name]()
        cell = Cell(train=lambda: batches)
    else:
        cell = Cell(train=LOADERS[name])
    assert check(cell, hook, tmp_path) >= 9


def test_chance_in_a_worker(tmp_path):
    cell = Cell(
        train=lambda: DataLoader(Drawn(7), 2, shuffle=True, num_workers=1),
        validation=None,
        options={"max_epochs": 2},
    )
    assert check(cell, "on_train_batch_end", tmp_path, every=4) == 2


class Measured(Net):
    """Logs metric objects in training and validation."""

    def __init__(self):
        super().__init__()
        self.mean = torchmetrics.MeanMetric()
        self.most = torchmetrics.MaxMetric()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.mean(loss.detach())
        self.log("mean", self.mean, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.most.update(batch[1])
        self.log("most of all", self.most)


@pytest.mark.parametrize(
    "hook", ["on_train_batch_end", "training_step", "on_validation_batch_end", "on_validation_end"]
)
def test_metric_objects(hook, tmp_path):
    cell = Cell(Measured, options={"val_check_interval": 2})
    assert check(cell, hook, tmp_path) >= 3


def test_two_parts_of_whole_epochs_are_the_same_as_one_run(tmp_path):
    whole, _ = train(Cell(), 1, tmp_path)

    class Saves(pl.Callback):
        def on_train_end(self, trainer, module):
            trainer.save_checkpoint(tmp_path / "first.ckpt")

    train(Cell(callbacks=lambda: [Saves()], options={"max_epochs": 2}), 1, tmp_path)
    second, _ = train(Cell(), 2, tmp_path, ckpt_path=tmp_path / "first.ckpt")
    for name in ("weights", "optimizers", "counters", "random"):
        assert_same(whole.final[name], second.final[name], name)
    assert second.rows == whole.rows[-len(second.rows) :]


def test_a_file_of_a_resumed_run_is_as_good(tmp_path):
    whole, moments = train(Cell(), 1, tmp_path, save_in="on_train_batch_end")
    again = tmp_path / "again"
    again.mkdir()
    _, later = train(Cell(), 2, again, save_in="on_train_batch_end", ckpt_path=moments[2].path)
    third, _ = train(Cell(), 3, tmp_path, ckpt_path=later[4].path)
    for name, value in whole.final.items():
        if name != "callbacks":
            assert_same(value, third.final[name], name)
