"""A module that the user divides, along data and along layers, against one process."""

import pytest
import torch
from tests.distributed.ranks import run_ranks
from tests.distributed.test_fsdp import (
    IN_64_BITS,
    QUIET,
    assert_close,
    batches,
    fit,
    states,
    whole,
)
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Grid(pl.LightningModule):
    """Columns and rows for two layers; the norm between batches of data alone."""

    def __init__(self, ways=("tensor", "data"), on_meta=False):
        super().__init__()
        self.ways, self.on_meta, self.net = ways, on_meta, None

    def configure_model(self):
        if self.net is not None:
            return
        torch.manual_seed(0)
        with torch.device("meta" if self.on_meta else "cpu"):
            self.net = nn.Sequential(
                nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4), nn.LayerNorm(4)
            ).double()
        if self.device_mesh is None:
            return
        from torch.distributed.fsdp import fully_shard
        from torch.distributed.tensor.parallel import (
            ColwiseParallel,
            RowwiseParallel,
            parallelize_module,
        )

        if "tensor" in self.ways:
            plan = {"0": ColwiseParallel(), "2": RowwiseParallel()}
            parallelize_module(self.net, self.device_mesh["tensor_parallel"], plan)
        if "data" in self.ways:
            fully_shard(self.net, mesh=self.device_mesh["data_parallel"])
        if "root" in self.ways:
            fully_shard(self, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch, batch_idx):
        loss = (self.net(batch) - batch).pow(2).mean()
        self.log_dict({"loss": loss, "seen": float(len(batch))}, sync_dist=True, on_epoch=True)
        self.log("rows", float(len(batch)), sync_dist=True, reduce_fx="sum", on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.05, foreach=None)


OPTIONS = {**QUIET, **IN_64_BITS, "max_epochs": 1, "use_distributed_sampler": False}


def _fit(data, tensor, cells):
    found = []
    for make, kwargs in cells:
        strategy = ModelParallelStrategy(data, tensor)
        trainer = pl.Trainer(devices=data * tensor, strategy=strategy, **OPTIONS, **kwargs)
        module = Grid(**make)
        share = strategy.data_rank
        trainer.fit(module, [batch[share :: strategy.data_world] for batch in batches()])
        logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
        found.append((whole(module), states(trainer.optimizers[0]), logged))
    return found


CELLS = [
    ({}, {}),
    ({}, {"gradient_clip_val": 0.1}),
    ({}, {"accumulate_grad_batches": 2}),
    ({"ways": ("tensor", "root")}, {}),
    ({"ways": ("tensor",)}, {}),
    ({"ways": ()}, {}),
]


@pytest.fixture(scope="module")
def fitted():
    return run_ranks(_fit, 4, 2, 2, CELLS, limit=60)


@pytest.mark.parametrize("cell", range(len(CELLS)))
def test_a_grid_of_four_equals_one_process(fitted, cell):
    module = Grid()
    trainer = fit(module, **CELLS[cell][1])
    for rank in range(4):
        weights, found, logged = fitted[rank][cell]
        assert_close(weights, whole(module))
        assert_close(found, states(trainer.optimizers[0]))
        assert logged["loss"] == pytest.approx(trainer.callback_metrics["loss"].item(), abs=1e-12)
        assert (logged["seen"], logged["rows"]) == (3.0, 24.0)


def test_layers_on_the_meta_device_are_whole_ones_divided():
    for rank, found in enumerate(run_ranks(_on_meta, 2)):
        assert found[0] == found[1], rank
        assert len({round(value, 9) for row in found[0] for value in row}) == 32


def _on_meta():
    strategy = ModelParallelStrategy(1, 2)
    trainer = pl.Trainer(devices=2, strategy=strategy, **OPTIONS)
    module = Grid(on_meta=True)
    trainer.fit(module, batches(1))
    weights = whole(module)["net.0.weight"]
    return strategy.broadcast(weights), weights


def test_what_the_grid_needs_is_said():
    found = run_ranks(_refused, 2)
    for texts in found:
        assert "has no `configure_model`" in texts[0]
        assert "2 x 3 = 6 processes are asked for, and this run has 2" in texts[1]
    with pytest.raises(ValueError, match="pass a number from 1 on, or 'auto'"):
        ModelParallelStrategy(data_parallel_size=0)


class Undivided(Grid):
    configure_model = pl.LightningModule.configure_model


def _refused():
    found = []
    for module, sizes in ((Undivided(), (1, 2)), (Grid(), (2, 3))):
        trainer = pl.Trainer(devices=2, strategy=ModelParallelStrategy(*sizes), **OPTIONS)
        with pytest.raises(MisconfigurationException) as caught:
            trainer.fit(module, batches(1))
        found.append(str(caught.value))
    return found


def _saved(folder, parts):
    """Two by one processes of data save, one by two of layers go on."""
    found = []
    for sizes, path in (((2, 1), None), ((1, 2), f"{folder}/grid.ckpt")):
        strategy = ModelParallelStrategy(*sizes, save_distributed_checkpoint=parts)
        options = {**OPTIONS, "max_epochs": 1 if path is None else 2}
        trainer = pl.Trainer(devices=2, strategy=strategy, **options)
        module = Grid()
        share = [batch[strategy.data_rank :: strategy.data_world] for batch in batches()]
        trainer.fit(module, share, ckpt_path=path)
        trainer.save_checkpoint(f"{folder}/grid.ckpt")
        found.append(whole(module))
    return found


@pytest.mark.parametrize("parts", [True, False])
def test_a_checkpoint_of_one_grid_goes_on_in_another(tmp_path, parts):
    expected = []
    for epochs in (1, 2):
        module = Grid()
        fit(module, max_epochs=epochs)
        expected.append(whole(module))
    for found in run_ranks(_saved, 2, str(tmp_path), parts):
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(ours, theirs)
    assert (tmp_path / "grid.ckpt").is_dir() is parts
