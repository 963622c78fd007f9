"""Limits, intervals and kinds of loaders on two ranks: the counts and orders of one process."""

import os

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, WeightedRandomSampler

import pytorch_lightning as pl
from pytorch_lightning.callbacks import GradientAccumulationScheduler
from pytorch_lightning.utilities import CombinedLoader


def rank():
    return int(os.environ.get("RANK", "0"))


def world():
    return int(os.environ.get("WORLD_SIZE", "1"))


class Counts(pl.LightningModule):
    """Notes what happens, in numbers that do not depend on the rank."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.events, self.seen = [], []

    def training_step(self, batch, batch_idx):
        self.events.append(f"t{batch_idx}")
        return self.layer(torch.ones(1, 1)).mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.events.append(f"v{batch_idx}")

    def on_train_epoch_start(self):
        self.events.append(f"epoch {self.current_epoch}")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_before_optimizer_step(self, optimizer):
        self.events.append("step")

    def train_dataloader(self):
        self.events.append("load")
        return loader(6)

    def val_dataloader(self):
        self.events.append("load val")
        return loader(4)

    def test_step(self, batch, batch_idx):
        self.events.append(f"test{batch_idx}")

    def test_dataloader(self):
        return loader(5)

    def predict_step(self, batch, batch_idx):
        return batch_idx

    def predict_dataloader(self):
        return loader(5)


def loader(batches, **options):
    """So many batches for each rank."""
    return DataLoader(torch.arange(float(batches * world())).unsqueeze(1), batch_size=1, **options)


def trainer(**options):
    given = {"max_epochs": 1, "num_sanity_val_steps": 0, **options}
    return pl.Trainer(
        accelerator="cpu",
        devices=world(),
        strategy="ddp" if world() > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **given,
    )


LIMITS = {
    "all": {},
    "ints": {"limit_train_batches": 4, "limit_val_batches": 1},
    "floats": {"limit_train_batches": 0.5, "limit_val_batches": 0.5},
    "no training": {"limit_train_batches": 0},
    "no validation": {"limit_val_batches": 0},
    "fast": {"fast_dev_run": True},
    "fast 2": {"fast_dev_run": 2},
    "overfit": {"overfit_batches": 2, "max_epochs": 2},
    "overfit float": {"overfit_batches": 0.5, "max_epochs": 2},
    "max_steps": {"max_steps": 8, "max_epochs": -1},
    "max_steps accumulated": {"max_steps": 4, "max_epochs": -1, "accumulate_grad_batches": 4},
    "min_steps": {"min_steps": 9, "max_epochs": 3},
    "min_epochs": {"min_epochs": 2, "max_epochs": 3},
    "interval float": {"val_check_interval": 0.5},
    "interval int": {"val_check_interval": 4},
    "interval over epochs": {
        "val_check_interval": 5,
        "check_val_every_n_epoch": None,
        "max_epochs": 3,
    },
    "every 2": {"check_val_every_n_epoch": 2, "max_epochs": 3},
    "sanity": {"num_sanity_val_steps": 2},
    "all sanity": {"num_sanity_val_steps": -1},
    "reload": {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 5, "limit_train_batches": 1},
    "accumulate": {"accumulate_grad_batches": 4},
    "schedule": {"max_epochs": 3, "callbacks": "schedule"},
}


def _limits():
    found = {}
    for name, options in LIMITS.items():
        options = dict(options)
        if options.get("callbacks") == "schedule":
            options["callbacks"] = [GradientAccumulationScheduler({0: 1, 1: 3, 2: 6})]
        model, run = Counts(), trainer(**options)
        run.fit(model)
        batches = run.num_training_batches, run.num_val_batches
        found[name] = [model.events, run.global_step, run.current_epoch, *batches]
    for limit in (2, 0.5, 1.0):
        model, run = Counts(), trainer(limit_test_batches=limit, limit_predict_batches=limit)
        run.test(model, verbose=False)
        found[f"evaluation {limit}"] = [model.events, len(run.predict(model)) // world()]
    return found


@pytest.fixture(scope="module")
def limits():
    return _limits(), run_ranks(_limits, 2, limit=100)


@pytest.mark.parametrize("name", [*LIMITS, *(f"evaluation {limit}" for limit in (2, 0.5, 1.0))])
def test_limits_count_the_batches_of_each_rank(limits, name):
    alone, ranks = limits
    for found in ranks:
        assert found[name] == alone[name]


# --- kinds of loaders -----------------------------------------------------------------------------


class Sees(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen, self.evaluated = [], []

    def training_step(self, batch, batch_idx):
        self.seen.append(plain(batch))
        return self.layer(torch.ones(1, 1)).mean()

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.evaluated.append([dataloader_idx, plain(batch)])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def plain(tree):
    if isinstance(tree, torch.Tensor):
        return tree.int().flatten().tolist()
    if isinstance(tree, dict):
        return {k: plain(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(v) for v in tree]
    return tree


class Pulls(Sees):
    def training_step(self, dataloader_iter):
        batch, batch_idx, _ = next(dataloader_iter)
        return super().training_step(batch, batch_idx)

    def validation_step(self, dataloader_iter):
        batch, batch_idx, loader = next(dataloader_iter)
        self.evaluated.append([loader, plain(batch)])


class Sharded(IterableDataset):
    """A stream of which each rank, and each of its workers, reads its part."""

    def __iter__(self):
        info = torch.utils.data.get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        return iter(torch.arange(8.0)[rank() :: world()][worker::workers])


class Epochs(DistributedSampler):
    """A sampler of the user, who deals by himself."""

    def __init__(self, data, **options):
        super().__init__(data, world(), rank(), **options)
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)
        super().set_epoch(epoch)


class Threes:
    """Batches of the user."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter([[3 * i, 3 * i + 1, 3 * i + 2] for i in range(self.count)])

    def __len__(self):
        return self.count


def data(n):
    return torch.arange(float(n)).unsqueeze(1)


def two(mode):
    parts = {"a": DataLoader(data(6), 1), "b": DataLoader(data(4), 2)}
    return CombinedLoader(parts, mode)


def of(size, batch_size=1, **options):
    return DataLoader(data(size), batch_size, **options)


WORKERS = {"num_workers": 2, "persistent_workers": True}
CASES = {
    "dictionary": lambda: ({"a": of(6), "b": of(4, 2)}, None, {}),
    "list": lambda: ([of(6), of(4, 2)], None, {}),
    "min_size": lambda: (two("min_size"), two("min_size"), {}),
    "max_size": lambda: (two("max_size"), two("max_size"), {}),
    "max_size_cycle": lambda: (two("max_size_cycle"), None, {}),
    "sequential": lambda: (of(2), CombinedLoader([of(3), of(4, 2)], "sequential"), {}),
    "several": lambda: (of(2), [of(3), of(5, 2)], {}),
    "stream": lambda: (DataLoader(Sharded(), 1), DataLoader(Sharded(), 2), {}),
    "stream in workers": lambda: (DataLoader(Sharded(), 1, num_workers=2), None, {}),
    "pulled": lambda: (of(6), of(3), {"model": Pulls}),
    "workers": lambda: (of(6, num_workers=2), of(3, num_workers=1), {}),
    "workers that stay": lambda: (of(6, **WORKERS), of(3, **WORKERS), {"max_epochs": 2}),
    "incomplete": lambda: (of(7, 2), of(7, 2), {}),
    "incomplete left out": lambda: (of(7, 2, drop_last=True), of(7, 2, drop_last=True), {}),
    "own batches": lambda: (
        DataLoader(data(12), batch_sampler=Threes(4)),
        DataLoader(data(12), batch_sampler=Threes(3)),
        {},
    ),
    "not dealt": lambda: (of(3), of(3), {"use_distributed_sampler": False}),
    "padded": lambda: (of(3), of(3), {"use_distributed_sampler": "pad"}),
    "samples alone": lambda: (of(6, None), of(3, None), {}),
    "plain list": lambda: ([torch.ones(1, 1) * (rank() + 1)] * 2, None, {}),
}


def _loaders():
    found = {}
    for name, make in CASES.items():
        train, val, options = make()
        model = options.pop("model", Sees)()
        run = trainer(**options)
        run.fit(model, train, val)
        assert run.train_dataloader is train
        found[name] = model.seen, model.evaluated
    return found


def first(*batches):
    """Of one evaluation loader."""
    return [[0, batch] for batch in batches]


# What each rank trains and validates on.
EXPECTED = {
    "dictionary": [
        ([{"a": [0], "b": [0, 2]}, {"a": [2], "b": [0, 2]}, {"a": [4], "b": [0, 2]}], []),
        ([{"a": [1], "b": [1, 3]}, {"a": [3], "b": [1, 3]}, {"a": [5], "b": [1, 3]}], []),
    ],
    "list": [
        ([[[0], [0, 2]], [[2], [0, 2]], [[4], [0, 2]]], []),
        ([[[1], [1, 3]], [[3], [1, 3]], [[5], [1, 3]]], []),
    ],
    "min_size": [
        ([{"a": [0], "b": [0, 2]}], first({"a": [0], "b": [0, 1]})),
        ([{"a": [1], "b": [1, 3]}], first({"a": [1], "b": [2, 3]})),
    ],
    "max_size": [
        (
            [{"a": [0], "b": [0, 2]}, {"a": [2], "b": None}, {"a": [4], "b": None}],
            first({"a": [0], "b": [0, 1]}, {"a": [2], "b": None}, {"a": [4], "b": None}),
        ),
        (
            [{"a": [1], "b": [1, 3]}, {"a": [3], "b": None}, {"a": [5], "b": None}],
            first({"a": [1], "b": [2, 3]}, {"a": [3], "b": None}, {"a": [5], "b": None}),
        ),
    ],
    "max_size_cycle": [
        ([{"a": [0], "b": [0, 2]}, {"a": [2], "b": [0, 2]}, {"a": [4], "b": [0, 2]}], []),
        ([{"a": [1], "b": [1, 3]}, {"a": [3], "b": [1, 3]}, {"a": [5], "b": [1, 3]}], []),
    ],
    "sequential": [([[0]], [*first([0], [2]), [1, [0, 1]]]), ([[1]], [*first([1]), [1, [2, 3]]])],
    "several": [
        ([[0]], [*first([0], [2]), [1, [0, 1]], [1, [4]]]),
        ([[1]], [*first([1]), [1, [2, 3]]]),
    ],
    "stream": [
        ([[0], [2], [4], [6]], first([0, 2], [4, 6])),
        ([[1], [3], [5], [7]], first([1, 3], [5, 7])),
    ],
    "stream in workers": [([[0], [2], [4], [6]], []), ([[1], [3], [5], [7]], [])],
    "pulled": [([[0], [2], [4]], first([0], [2])), ([[1], [3], [5]], first([1]))],
    "workers": [([[0], [2], [4]], first([0], [2])), ([[1], [3], [5]], first([1]))],
    "workers that stay": [
        ([[0], [2], [4]] * 2, first([0], [2]) * 2),
        ([[1], [3], [5]] * 2, first([1]) * 2),
    ],
    "incomplete": [
        ([[0, 2], [4, 6]], first([0, 1], [4, 5])),
        ([[1, 3], [5, 0]], first([2, 3], [6])),
    ],
    "incomplete left out": [([[0, 2]], first([0, 1], [4, 5])), ([[1, 3]], first([2, 3]))],
    "own batches": [
        ([[0, 1, 2], [6, 7, 8]], first([0, 1, 2], [6, 7, 8])),
        ([[3, 4, 5], [9, 10, 11]], first([3, 4, 5])),
    ],
    "not dealt": [([[0], [1], [2]], first([0], [1], [2]))] * 2,
    "padded": [([[0], [2]], first([0], [2])), ([[1], [0]], first([1], [0]))],
    "samples alone": [([[0], [2], [4]], first([0], [2])), ([[1], [3], [5]], first([1]))],
    "plain list": [([[1], [1]], []), ([[2], [2]], [])],
}


@pytest.fixture(scope="module")
def loaders():
    return run_ranks(_loaders, 2, limit=100)


@pytest.mark.parametrize("name", CASES)
def test_each_rank_reads_its_part(loaders, name):
    assert [found[name] for found in loaders] == EXPECTED[name]


def _random():
    weights = WeightedRandomSampler([0.0, 1, 0, 1, 0, 0], 6)
    weighted, shuffled = Sees(), Sees()
    trainer().fit(weighted, of(6, sampler=weights))
    samplers = Epochs(data(6), shuffle=True), Epochs(data(6), shuffle=False)
    trainer(max_epochs=2).fit(shuffled, *(of(6, sampler=sampler) for sampler in samplers))
    epochs = [sampler.epochs for sampler in samplers]
    return weighted.seen, shuffled.seen, shuffled.evaluated, epochs


def test_samplers_that_draw_keep_their_meaning():
    ranks = run_ranks(_random, 2)
    for place, (weighted, shuffled, evaluated, epochs) in enumerate(ranks):
        assert len(weighted) == 3 and {sample for (sample,) in weighted} <= {1, 3}
        own = DistributedSampler(range(6), 2, place)
        expected = []
        for epoch in range(2):
            own.set_epoch(epoch)
            expected += [[sample] for sample in own]
        assert shuffled == expected
        assert evaluated == first(*([i] for i in range(place, 6, 2))) * 2
        assert epochs == [[0, 1], [0, 1]]
