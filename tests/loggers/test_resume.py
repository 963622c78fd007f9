"""A run that resumes into its own folders leaves the logs of one that was never stopped."""

import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger


class Logging(BoringModel):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val", super().validation_step(batch, batch_idx)["x"], on_step=True, on_epoch=True)


def run(name, max_steps, ckpt_path=None):
    pl.seed_everything(0)
    loggers = [cls(".", name=name, version=0) for cls in (TensorBoardLogger, CSVLogger)]
    trainer = pl.Trainer(
        max_steps=max_steps,
        limit_train_batches=4,
        limit_val_batches=3,
        num_sanity_val_steps=0,  # it would create the random data of validation first
        log_every_n_steps=1,
        logger=loggers,
        callbacks=[ModelCheckpoint(f"{name}/saved", every_n_train_steps=1, save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Logging(), ckpt_path=ckpt_path)


def rows(name):
    with Path(name, "version_0", "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def curves(name):
    events = EventAccumulator(f"{name}/version_0").Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def axes(name):
    return [[x for x, _ in points] for tag, points in curves(name).items()]


@pytest.mark.parametrize("saved_at", [2, 4, 7, 8])
def test_resumed_logs_equal_uninterrupted_ones(saved_at):
    run("whole", 12)
    run("stopped", 10)
    (checkpoint,) = Path("stopped/saved").glob(f"*step={saved_at}.ckpt")
    run("stopped", 12, checkpoint)
    assert rows("stopped") == rows("whole")
    assert curves("stopped") == curves("whole")
    assert len(rows("whole")) == 12 + 3 * (3 + 1) + 3
    assert all(axis == sorted(axis) for axis in axes("stopped"))


def test_files_of_one_second_are_read_in_the_order_in_which_they_were_written(monkeypatch):
    counter = event_file_writer._global_uid  # the number at the end of each name
    monkeypatch.setattr(event_file_writer, "_global_uid", type(counter)(8))
    test_resumed_logs_equal_uninterrupted_ones(2)  # "...10" comes before "...9"


def test_rows_of_the_future_are_gone_where_a_resumed_run_is_shorter():
    run("stopped", 10)
    (checkpoint,) = Path("stopped/saved").glob("*step=5.ckpt")
    run("stopped", 6, checkpoint)
    assert [int(row["step"]) for row in rows("stopped") if row["loss_step"]] == list(range(6))
    assert [x for x, _ in curves("stopped")["loss_step"]] == list(range(6))
