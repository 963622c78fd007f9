"""The demonstrations train."""

import pytest
import torch
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.demos import LightningLSTM, LightningTransformer, SequenceSampler, WikiText2
from pytorch_lightning.demos.boring_classes import (
    BoringDataModule,
    BoringDataModuleNoLen,
    BoringModel,
    DemoModel,
    IterableBoringDataModule,
    ManualOptimBoringModel,
    RandomDataset,
)
from pytorch_lightning.demos.lstm import SimpleLSTM
from pytorch_lightning.demos.transformer import Transformer


def trainer(**options):
    return pl.Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


@pytest.mark.parametrize("data", [None, BoringDataModule, BoringDataModuleNoLen])
@pytest.mark.parametrize("model", [BoringModel, ManualOptimBoringModel])
def test_boring_classes_in_every_stage(model, data):
    module, datamodule = model(), data and data()
    before = module.loss(module(torch.ones(4, 32)))
    run = trainer(limit_train_batches=8, limit_val_batches=2, limit_test_batches=2)
    run.fit(module, datamodule=datamodule)
    assert run.global_step == 8
    assert module.loss(module(torch.ones(4, 32))) != before
    assert run.validate(module, datamodule=datamodule) == [{}]
    assert run.test(module, datamodule=datamodule) == [{}]
    predictions = trainer(limit_predict_batches=3).predict(module, datamodule=datamodule)
    assert [p.shape for p in predictions] == [(1, 2)] * 3


def test_demo_model():
    run = trainer()
    run.fit(DemoModel(), DataLoader(RandomDataset(32, 6), batch_size=3))
    assert run.global_step == 2


def test_two_loaders():
    class Sum(BoringModel):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 2)

        def training_step(self, batch, batch_idx):
            left, right = batch
            return self.step(left) + self.step(right)

        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.log("loss", self.step(batch))

    run = trainer()
    run.fit(Sum(), datamodule=IterableBoringDataModule())
    assert run.global_step == 16
    assert {"loss/dataloader_idx_0", "loss/dataloader_idx_1"} <= set(run.callback_metrics)


def text():
    dataset = WikiText2(block_size=5)
    dataset.data = dataset.data[:601] % 20
    return dataset


def test_transformer_learns():
    module = LightningTransformer(20)
    module.model = Transformer(20, 8, 2, 8, 1)
    run = trainer()
    run.fit(module, DataLoader(text(), batch_size=10))
    assert run.global_step == 12


def test_lstm_goes_through_the_text_with_its_state():
    module = LightningLSTM(20)
    module.model = SimpleLSTM(20, 8, 8, 1, dropout=0)
    dataset = text()
    run = trainer()
    run.fit(module, DataLoader(dataset, batch_sampler=SequenceSampler(dataset, 20)))
    assert run.global_step == 6
    assert run.callback_metrics["train_loss"].isfinite()
    assert module.hidden is None
