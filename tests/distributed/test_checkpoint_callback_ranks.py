"""Every way of `ModelCheckpoint` and `EarlyStopping` on two ranks: the files of one process."""

import os
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint


def world():
    return int(os.environ.get("WORLD_SIZE", "1"))


class Model(pl.LightningModule):
    """Its metric is the mean of what all ranks log, whatever each of them logs."""

    values = (5.0, 3.0, 4.0, 2.0, 6.0)

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(1, 1).double()

    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch) - 1).square().mean()
        self.log("step_loss", 10.0 - self.trainer.fit_loop.total_batch_idx, sync_dist=True)
        return loss

    def validation_step(self, batch, batch_idx):
        apart = self.global_rank - (world() - 1) / 2
        self.log("metric", self.values[self.current_epoch] + apart, sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(folder, *callbacks, **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=world(),
        strategy="ddp" if world() > 1 else "auto",
        default_root_dir=folder,
        callbacks=list(callbacks),
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": 4, **options},
    )
    batch_size = 4 // world()
    data = torch.arange(8.0).double().unsqueeze(1) / 8
    trainer.fit(Model(), DataLoader(data, batch_size), DataLoader(data, batch_size))
    return trainer


SAVING = {
    "alone": {},
    "best": {"monitor": "metric"},
    "worst two": {"monitor": "metric", "mode": "max", "save_top_k": 2},
    "all": {"monitor": "metric", "save_top_k": -1, "filename": "{epoch}-{metric:.1f}"},
    "none": {"save_top_k": 0, "save_last": True},
    "last": {"save_last": True},
    "link": {"monitor": "metric", "save_last": "link"},
    "weights": {"save_weights_only": True},
    "by steps": {"every_n_train_steps": 3, "save_top_k": -1},
    "by steps, ranked": {"every_n_train_steps": 1, "monitor": "step_loss", "save_top_k": 2},
    "every second": {"every_n_epochs": 2, "save_top_k": -1},
    "after training": {"save_on_train_epoch_end": True, "monitor": "metric", "save_top_k": 2},
    "after validation": {"save_on_train_epoch_end": False, "monitor": "metric"},
    "one name": {"filename": "kept", "save_top_k": 2, "monitor": "metric"},
    "overwritten": {"filename": "kept", "enable_version_counter": False},
    "in folders": {
        "filename": "{epoch}/x",
        "auto_insert_metric_name": False,
        "save_top_k": -1,
        "monitor": "metric",
    },
}
STOPPING = {
    "patience": {"patience": 1},
    "worse": {"mode": "max", "patience": 2},
    "threshold": {"stopping_threshold": 3.5},
    "divergence": {"divergence_threshold": 3.5, "mode": "min"},
    "delta": {"min_delta": 2.5, "patience": 1},
    "after training": {"check_on_train_epoch_end": True, "patience": 1},
}


def _saved(folder, options):
    saver = ModelCheckpoint(folder, **options)
    _fit(folder, saver)
    named = (saver.best_model_path, saver.last_model_path, saver.kth_best_model_path)
    return {
        "files": sorted(str(path.relative_to(folder)) for path in folder.rglob("*")),
        "links": [path.name for path in folder.rglob("*") if path.is_symlink()],
        "scores": {os.path.relpath(p, folder): s.item() for p, s in saver.best_k_models.items()},
        "paths": [os.path.relpath(path, folder) if path else "" for path in named],
    }


def _stopped(folder, options):
    stopper = EarlyStopping("metric", **options)
    trainer = _fit(folder, stopper, max_epochs=5, enable_checkpointing=False)
    return {
        "ends": (trainer.current_epoch, trainer.global_step),
        "counts": (stopper.wait_count, stopper.stopped_epoch, stopper.best_score.item()),
        "reason": (str(stopper.stopping_reason), stopper.stopping_reason_message),
    }


def _all(folder):
    saved = {name: _saved(Path(folder, name), options) for name, options in SAVING.items()}
    return saved, {name: _stopped(folder, options) for name, options in STOPPING.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    return _all(folder / "one"), run_ranks(_all, 2, str(folder / "two"), limit=100)


@pytest.mark.parametrize("name", SAVING)
def test_two_ranks_keep_the_files_of_one_process(found, name):
    (alone, _), ((first, _), (second, _)) = found
    assert first[name] == alone[name]
    del first[name]["files"], second[name]["files"]  # rank 0 may be deleting while rank 1 looks
    assert second[name] == first[name]


@pytest.mark.parametrize("name", STOPPING)
def test_two_ranks_stop_where_one_process_does(found, name):
    (_, alone), ranks = found
    for _, stopped in ranks:
        assert stopped[name] == alone[name]
