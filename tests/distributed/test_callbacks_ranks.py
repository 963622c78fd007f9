"""Callbacks of two processes that see different metrics, files and clocks decide alike."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tests.distributed.ranks import outcomes_of_ranks, run_ranks
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    Timer,
)

ROUNDS = {0: [5.0, 4.0, 3.0, 2.0], 1: [2.0, 3.0, 4.0, 5.0]}  # of a metric, by rank


class Model(pl.LightningModule):
    def __init__(self, pause=0.0):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.pause = pause

    def training_step(self, batch, batch_idx):
        time.sleep(self.pause)
        return self.layer(batch).pow(2).mean()

    def on_train_epoch_end(self):
        metric = ROUNDS[self.global_rank][self.current_epoch % 4]
        self.log("metric", torch.tensor(metric))
        if self.global_rank == 0:
            self.log("of_first", metric, rank_zero_only=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _trainer(folder, *callbacks, **options):
    given = {"max_epochs": 4, "logger": False, **options}
    return pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        default_root_dir=folder,
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(hasattr(c, "dirpath") for c in callbacks),
        **given,
    )


def _loader(batches=2):
    return DataLoader(torch.randn(2 * batches, 2), batch_size=1)


def _records(callback):
    return (
        callback.best_model_path,
        list(callback.best_k_models),
        [float(score) for score in callback.best_k_models.values()],
        callback.last_model_path,
        callback.kth_best_model_path,
    )


def _save_the_best(shared):
    rank = int(os.environ["RANK"])
    own = Path(shared, f"of-rank-{rank}")
    own.mkdir()
    if rank == 1:  # a file system on which the names are taken
        for epoch in range(4):
            (own / f"epoch={epoch}-step={2 * (epoch + 1)}.ckpt").touch()
    callback = ModelCheckpoint(own, monitor="metric", save_top_k=2, save_last=True)
    _trainer(shared, callback).fit(Model(), _loader())
    return callback.dirpath, _records(callback), sorted(p.name for p in own.iterdir())


def test_ranks_with_other_metrics_and_files_keep_the_same_checkpoints(tmp_path):
    first, second = run_ranks(_save_the_best, 2, str(tmp_path))
    assert first[:2] == second[:2]
    folder, (best, kept, scores, last, worst), files = first
    assert folder == str(tmp_path / "of-rank-0")
    assert [Path(path).name for path in kept] == ["epoch=2-step=6.ckpt", "epoch=3-step=8.ckpt"]
    assert scores == [3.0, 2.0]
    assert best == kept[1] and worst == kept[0] and Path(last).name == "last.ckpt"
    assert files == ["epoch=2-step=6.ckpt", "epoch=3-step=8.ckpt", "last.ckpt"]
    assert len(second[2]) == 4  # what was there, and nothing else


def _monitor_of_the_first():
    callback = ModelCheckpoint("files", monitor="of_first")
    _trainer(".", callback).fit(Model(), _loader())
    return float(callback.best_model_score)


def test_a_metric_that_only_the_first_rank_has_can_be_monitored(tmp_path):
    assert run_ranks(_monitor_of_the_first, 2) == [2.0, 2.0]


def _monitor_of_nobody():
    trainer = _trainer(".", ModelCheckpoint("files", monitor="other"))
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="other"):
        trainer.fit(Model(), _loader())
    return trainer.current_epoch


def test_a_monitor_that_is_never_logged_is_an_error_on_all_ranks(tmp_path):
    assert run_ranks(_monitor_of_nobody, 2, limit=30) == [0, 0]


def _stop_early(shared, patience):
    callback = EarlyStopping("metric", patience=patience)
    trainer = _trainer(shared, callback, ModelCheckpoint(Path(shared, "files")))
    trainer.fit(Model(), _loader())
    return (
        trainer.current_epoch,
        callback.stopped_epoch,
        callback.stopping_reason.name,
        callback.stopping_reason_message,
        callback.state_dict().get("of_ranks"),
    )


def test_all_stop_where_one_wants_to_and_know_the_reason(tmp_path):
    first, second = run_ranks(_stop_early, 2, str(tmp_path), 2)
    assert first == second
    epochs, stopped, reason, message, of_ranks = first
    assert (epochs, stopped, reason) == (3, 2, "PATIENCE_EXHAUSTED")  # rank 1: 2, 3, 4
    assert "Best score: 2.000" in message
    assert of_ranks == [(0, 3.0), (2, 2.0)]


def _go_on(shared):
    path = str(Path(shared, "files", "epoch=1-step=4.ckpt"))
    callback = EarlyStopping("metric", patience=3)
    trainer = _trainer(shared, callback)
    trainer.fit(Model(), _loader(), ckpt_path=path)
    return trainer.current_epoch, callback.wait_count, float(callback.best_score)


def _stop_later(shared):
    callback = EarlyStopping("metric", patience=3)
    saver = ModelCheckpoint(Path(shared, "files"), save_top_k=-1)
    trainer = _trainer(shared, callback, saver, max_epochs=2)
    trainer.fit(Model(), _loader())


def test_patience_of_each_rank_goes_on_after_a_resume(tmp_path):
    run_ranks(_stop_later, 2, str(tmp_path))
    first, second = run_ranks(_go_on, 2, str(tmp_path))
    assert first == (4, 0, 2.0)
    assert second == (4, 3, 2.0)


def _run_out_of_time():
    first = int(os.environ["RANK"]) == 0
    timer = Timer(timedelta(seconds=0.2) if first else timedelta(hours=1))
    trainer = _trainer(".", timer, max_epochs=-1)
    trainer.fit(Model(pause=0.01), _loader(200))
    return trainer.global_step


def test_clocks_that_differ_stop_all_ranks_after_the_same_batch(tmp_path):
    steps = run_ranks(_run_out_of_time, 2, limit=40)
    assert steps[0] == steps[1] > 0


def _save_by_time(shared):
    every = timedelta(seconds=0.1) if os.environ["RANK"] == "0" else timedelta(hours=1)
    callback = ModelCheckpoint(Path(shared, "files"), train_time_interval=every, save_top_k=1)
    trainer = _trainer(shared, callback, max_epochs=1, log_every_n_steps=5)
    trainer.fit(Model(pause=0.01), _loader(30))
    return callback.best_model_path, sorted(os.listdir(Path(shared, "files")))


def test_a_checkpoint_by_time_follows_the_clock_of_rank_0(tmp_path):
    first, second = run_ranks(_save_by_time, 2, str(tmp_path), limit=40)
    assert first == second
    assert first[1] == [Path(first[0]).name]


class Fails(Model):
    def training_step(self, batch, batch_idx):
        if batch_idx == 1 and self.global_rank == 0:
            raise ArithmeticError("on purpose")
        return super().training_step(batch, batch_idx)


def _fail(shared):
    callback = OnExceptionCheckpoint(shared)
    saver = ModelCheckpoint(Path(shared, "files"), save_on_exception=True, save_last=True)
    trainer = _trainer(shared, callback, saver)
    try:
        trainer.fit(Fails(), _loader())
    finally:
        dist.destroy_process_group()  # else the other rank waits for this one
    return trainer.global_step


def test_what_the_first_rank_leaves_when_it_fails_alone_is_written_without_the_other(tmp_path):
    outcomes = outcomes_of_ranks(_fail, 2, str(tmp_path), limit=30)
    assert "ArithmeticError: on purpose" in outcomes[0][2]
    checkpoint = torch.load(tmp_path / "on_exception.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 1
    names = {path.name for path in (tmp_path / "files").iterdir()}
    assert names == {"epoch=0-step=1.ckpt", "last.ckpt"}


def _watch_rates():
    monitor = LearningRateMonitor("step")
    trainer = _trainer(".", monitor, logger=True, log_every_n_steps=1, max_epochs=1)
    trainer.fit(Model(), _loader())
    return monitor.lrs, trainer.callback_metrics["lr-SGD"].item()


def test_learning_rates_are_known_to_all_ranks(tmp_path):
    first, second = run_ranks(_watch_rates, 2)
    assert first == second and len(first[0]["lr-SGD"]) == 2


def _count_messages(batches):
    calls = []
    for name in ("broadcast_object_list", "all_gather_object", "barrier"):
        own = getattr(dist, name)
        setattr(dist, name, lambda *a, _own=own, _n=name, **k: (calls.append(_n), _own(*a, **k))[1])
    timer = Timer(timedelta(hours=1))
    callback = ModelCheckpoint("files", train_time_interval=timedelta(hours=1))
    _trainer(".", timer, callback, max_epochs=1).fit(Model(), _loader(batches))
    return len(calls)


def test_clocks_cost_no_message_per_batch(tmp_path):
    few, many = run_ranks(_count_messages, 2, 2), run_ranks(_count_messages, 2, 40)
    assert few == many
