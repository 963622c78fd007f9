"""Values of training steps where files, schedulers and epochs read them: those of all ranks."""

from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

LOSSES = {0: [9.0, 1.0, 5.0, 2.0], 1: [1.0, 5.0, 3.0, 10.0]}  # means: 5, 3, 4, 6


class Model(pl.LightningModule):
    def __init__(self, monitor, interval="step"):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.monitor, self.interval = monitor, interval
        self.rates = []

    def training_step(self, batch, batch_idx):
        value = LOSSES[self.global_rank][batch_idx]
        self.log("all", value, sync_dist=True)
        self.log("own", value)
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):
        pass

    def on_train_batch_start(self, batch, batch_idx):
        self.rates.append(self.optimizers().param_groups[0]["lr"])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        if self.monitor is None:
            return optimizer
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        config = {"scheduler": plateau, "monitor": self.monitor, "interval": self.interval}
        return {"optimizer": optimizer, "lr_scheduler": config}


def _fit(model, folder, callbacks=(), **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        default_root_dir=folder,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 1, "limit_val_batches": 0, **options},
    )
    data = DataLoader(torch.ones(8, 1), batch_size=1)
    trainer.fit(model, data, data)
    return trainer


def _epoch(folder):
    trainer = _fit(Model(None), folder)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_after_an_epoch_the_last_step_is_that_of_all_ranks(tmp_path):
    first, second = run_ranks(_epoch, 2, str(tmp_path))
    assert first == {"all": 6.0, "own": 2.0}
    assert second == {"all": 6.0, "own": 10.0}


def _files(folder, after_validation):
    saver = ModelCheckpoint(
        folder,
        filename="{step}-{all:.0f}",
        monitor="all",
        save_top_k=-1,
        auto_insert_metric_name=False,
        **({} if after_validation else {"every_n_train_steps": 1}),
        save_on_train_epoch_end=False if after_validation else None,
    )
    options = {"limit_val_batches": 1, "val_check_interval": 2} if after_validation else {}
    _fit(Model(None), folder, [saver], num_sanity_val_steps=0, **options)
    return sorted(Path(path).stem for path in saver.best_k_models)


@pytest.mark.parametrize("after_validation", [False, True])
def test_a_file_is_ranked_by_the_mean_of_its_own_step(tmp_path, after_validation):
    expected = ["2-3", "4-6"] if after_validation else ["1-5", "2-3", "3-4", "4-6"]
    assert run_ranks(_files, 2, str(tmp_path), after_validation) == [expected] * 2


def _rates(folder):
    found = []
    for monitor in ("all", "own"):
        model = Model(monitor)
        _fit(model, folder)
        found.append([*model.rates, model.optimizers().param_groups[0]["lr"]])
    return found


def test_learning_rates_do_not_part_where_metrics_do(tmp_path):
    found = run_ranks(_rates, 2, str(tmp_path))
    assert found[0] == found[1]
    assert found[0][0] == [1.0, 1.0, 1.0, 0.5, 0.25]  # means: 5, 3, 4, 6
    assert found[0][1] == [1.0, 1.0, 1.0, 0.5, 0.25]  # of rank 0: 9, 1, 5, 2


def _nothing_to_watch(folder):
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="not logged"):
        _fit(Model("other", "epoch"), folder)
    return True


def test_a_plateau_that_nobody_logged_is_an_error_on_all_ranks(tmp_path):
    assert run_ranks(_nothing_to_watch, 2, str(tmp_path), limit=30) == [True, True]
