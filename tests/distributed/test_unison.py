"""A batch that is left out: by all ranks alike, or an error within seconds that says what to do."""

import os
import time

import torch
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from torch.utils.data import DataLoader, default_collate

import pytorch_lightning as pl
from pytorch_lightning.distributed import unison


def leaves_out(where, alone):
    """Whether this rank leaves out the batch that it has come to."""
    return where == 1 and (not alone or os.environ["RANK"] == "1")


class Model(pl.LightningModule):
    def __init__(self, how, alone):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 1)
        self.how, self.alone = how, alone
        self.trained = []

    def on_train_batch_start(self, batch, batch_idx):
        if self.how == "cut" and self.current_epoch == 0 and leaves_out(batch_idx, self.alone):
            return -1
        return None

    def training_step(self, batch, batch_idx):
        if self.how == "no loss" and leaves_out(batch_idx, self.alone):
            return None
        self.trained.append(batch_idx)
        loss = self.layer(batch).sum()
        if self.how == "weight":
            kept = not leaves_out(batch_idx, self.alone)
            return loss * kept, len(batch) * kept
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _fit(how, alone):
    count = 0

    def collate(samples):
        nonlocal count
        count += 1
        skipped = how == "no batch" and leaves_out(count - 1, alone)
        return None if skipped else default_collate(samples)

    model = Model(how, alone)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(torch.arange(6.0).unsqueeze(1), 1, collate_fn=collate))
    return model.trained, trainer.global_step, model.layer.weight.item()


def _all_alike():
    return {how: _fit(how, alone=False) for how in ("cut", "no loss", "no batch")}


def test_all_ranks_leave_out_a_batch():
    first, second = run_ranks(_all_alike, 2)
    assert first == second
    assert first["cut"][0] == [0, 0, 1, 2]
    assert first["no loss"][0] == [0, 2, 0, 2]
    assert first["no batch"][0] == [0, 2, 0, 1, 2]


def _one_alone(how):
    unison.PATIENCE = 1.0
    return _fit(how, alone=True)


def test_one_rank_alone_that_cuts_the_epoch_is_an_error_within_seconds():
    begun = time.monotonic()
    (first, _, told), (second, _, text) = outcomes_of_ranks(_one_alone, 2, "cut", limit=30)
    assert not first and not second
    said = "`on_train_batch_start` returned -1 for batch 1 on rank 1 but not on rank 0"
    assert said in text and said in told
    assert time.monotonic() - begun < 20


def _without_loss_alone():
    return {how: _fit(how, alone=True) for how in ("no loss", "no batch")}


def test_a_batch_that_one_rank_leaves_out_counts_there_with_a_gradient_of_zero():
    for found in zip(*(ranks.items() for ranks in run_ranks(_without_loss_alone, 2)), strict=True):
        (how, first), (_, second) = found
        assert first[1:] == second[1:], how
        assert first[1] == 6
        assert first[0] == [0, 1, 2, 0, 1, 2]
        assert second[0] == ([0, 2, 0, 2] if how == "no loss" else [0, 2, 0, 1, 2])


def test_a_weight_of_zero_leaves_out_the_batch_of_one_rank():
    first, second = run_ranks(_one_alone, 2, "weight")
    assert first[1:] == second[1:]
    assert first[1] == 6
