"""Shapes and sizes that bug reports rely on."""

import pytest
import torch

from pytorch_lightning.demos.boring_classes import (
    BoringDataModule,
    BoringDataModuleNoLen,
    BoringModel,
    DemoModel,
    IterableBoringDataModule,
    ManualOptimBoringModel,
    RandomDataset,
    RandomDictDataset,
    RandomIterableDataset,
    RandomIterableDatasetWithLen,
)


def test_datasets():
    assert RandomDataset(3, 5)[4].shape == (3,)
    assert len(RandomDataset(3, 5)) == 5
    row = RandomDictDataset(3, 5)[0]
    assert torch.equal(row["b"], row["a"] + 2)
    assert [x.shape for x in RandomIterableDataset(3, 2)] == [(3,), (3,)]
    assert not hasattr(RandomIterableDataset(3, 2), "__len__")
    assert len(RandomIterableDatasetWithLen(3, 2)) == 2


def test_boring_model():
    model = BoringModel()
    batch = torch.ones(4, 32)
    loss = model.training_step(batch, 0)["loss"]
    assert loss == ((model(batch) - 1) ** 2).mean()
    assert model.validation_step(batch, 0) == {"x": loss}
    assert model.test_step(batch, 0) == {"y": loss}
    assert model.loss(torch.zeros(2), torch.full((2,), 3.0)) == 9
    assert [(k, v.shape) for k, v in model.state_dict().items()] == [
        ("layer.weight", (2, 32)),
        ("layer.bias", (2,)),
    ]
    [optimizer], [scheduler] = model.configure_optimizers()
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert scheduler.step_size == 1
    for stage in ("train", "val", "test", "predict"):
        loader = getattr(model, f"{stage}_dataloader")()
        assert len(loader) == 64
        assert next(iter(loader)).shape == (1, 32)


def test_demo_model():
    model = DemoModel(out_dim=3, learning_rate=0.5)
    batch = torch.ones(2, 32)
    assert model(batch).shape == (2, 3)
    assert model.training_step(batch, 0) == model(batch).clamp(min=0).sum()
    assert model.configure_optimizers().param_groups[0]["lr"] == 0.5


def test_manual_model():
    assert ManualOptimBoringModel().automatic_optimization is False


def test_datamodule_takes_a_quarter_for_each_stage():
    data = BoringDataModule()
    for stage in ("fit", "test", "predict"):
        data.setup(stage)
    stages = ("train", "val", "test", "predict")
    batches = [b for stage in stages for b in getattr(data, f"{stage}_dataloader")()]
    assert torch.equal(torch.cat(batches), data.random_full.data)


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_other_datamodules(stage):
    streams, pairs = BoringDataModuleNoLen(), IterableBoringDataModule()
    for name in ("fit", "test", "predict"):
        streams.setup(name)
        pairs.setup(name)
    stream = getattr(streams, f"{stage}_dataloader")()
    assert next(iter(stream)).shape == (1, 32)
    with pytest.raises(TypeError):
        len(stream)
    sizes = {"train": 16, "val": 32, "test": 64, "predict": 128}
    sized, unsized = getattr(pairs, f"{stage}_dataloader")()
    assert len(sized) == len(list(unsized)) == sizes[stage]
