"""At which x loggers get a value; nothing ever goes backwards."""

import csv

import pytest
import torch
from tests.loops.logging_runs import Plain, Rows, fitted, numbers, trainer

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger


class Logs(Plain):
    """Step and epoch values of every stage."""

    def training_step(self, batch, batch_idx):
        self.log("t", batch.mean(), on_step=True, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("v", batch.mean(), on_step=True, on_epoch=True)

    def test_step(self, batch, batch_idx):
        self.log("e", batch.mean(), on_step=True, on_epoch=True)


def axis(logger, name):
    return [x for x, _ in logger.of(name)]


def test_training_steps_are_counted_by_batches_that_stepped():
    logger = fitted(Logs(), numbers(10), max_epochs=2, accumulate_grad_batches=2).logger
    assert axis(logger, "t_step") == [0, 1, 2, 3, 4, 5]
    assert axis(logger, "t_epoch") == [2, 5]
    assert [numbers["epoch"] for _, numbers in logger.rows] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert [value for _, value in logger.of("t_step")][:3] == [2.5, 6.5, 8.5]  # of the last batch


def test_they_are_thinned():
    logger = fitted(Logs(), numbers(10), max_epochs=2, log_every_n_steps=4).logger
    assert axis(logger, "t_step") == [3, 7]
    assert axis(logger, "t_epoch") == [4, 9]


def test_with_the_default_of_fifty_a_short_run_shows_no_steps_and_says_so():
    with pytest.warns(UserWarning, match="log_every_n_steps=50"):
        logger = fitted(Logs(), numbers(10), log_every_n_steps=50).logger
    assert axis(logger, "t_step") == []
    long = fitted(Logs(), numbers(60, batch_size=1), log_every_n_steps=50).logger
    assert axis(long, "t_step") == [49]


def test_fast_dev_run_hides_loggers_but_not_values():
    made = trainer(fast_dev_run=True)
    made.fit(Logs(), numbers(10))
    assert float(made.logged_metrics["t_step"]) == 0.5


def test_the_last_step_before_a_stop_is_written():
    class Stops(Logs):
        def on_train_batch_start(self, batch, batch_idx):
            self.trainer.should_stop = batch_idx == 2

    assert axis(fitted(Stops(), numbers(10), log_every_n_steps=50).logger, "t_step") == [2]


def test_evaluation_batches_have_an_axis_of_their_own_that_is_not_thinned():
    run = fitted(Logs(), numbers(4), numbers(6), max_epochs=2, log_every_n_steps=50)
    logger = run.logger
    assert axis(logger, "v_step") == [0, 1, 2, 3, 4, 5]
    assert all("epoch" not in row for _, row in logger.rows if "v_step" in row)
    assert axis(logger, "v_epoch") == [1, 3]
    assert [row["epoch"] for _, row in logger.rows if "v_epoch" in row] == [0, 1]


def test_it_goes_on_over_calls():
    module, run = Logs(), trainer(max_epochs=2)
    run.validate(module, numbers(4), verbose=False)
    run.fit(module, numbers(4), numbers(4))
    for _ in range(2):
        run.validate(module, numbers(4), verbose=False)
        run.test(module, numbers(4), verbose=False)
    assert axis(run.logger, "v_step") == list(range(10))
    assert axis(run.logger, "v_epoch") == [0, 1, 3, 4, 4]
    assert axis(run.logger, "e_step") == [0, 1, 2, 3]
    assert axis(run.logger, "e_epoch") == [4, 4]


def test_each_loader_counts_alone():
    class Two(Plain):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.log("v", batch.mean(), on_step=True)

    logger = fitted(Two(), numbers(4), [numbers(4), numbers(2)], max_epochs=2).logger
    assert axis(logger, "v_step/dataloader_idx_0") == [0, 1, 2, 3]
    assert axis(logger, "v_step/dataloader_idx_1") == [0, 1]


def test_a_key_called_step_replaces_the_x():
    class Own(Plain):
        def training_step(self, batch, batch_idx):
            self.log_dict({"step": 10.0 * self.current_epoch + batch_idx, "x": 1.0})
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self):
            self.log_dict({"step": float(self.current_epoch), "y": 2.0})

    logger = fitted(Own(), numbers(4), max_epochs=2).logger
    assert logger.of("x") == [(0, 1.0), (1, 1.0), (10, 1.0), (11, 1.0)]
    assert logger.of("y") == [(0, 2.0), (1, 2.0)]
    assert all("step" not in row and "epoch" not in row for _, row in logger.rows)


def test_several_loggers_get_the_same():
    first, second = Rows(), Rows()
    fitted(Logs(), numbers(4), logger=[first, second])
    assert first.rows == second.rows != []


# --- resumes ----------------------------------------------------------------------------------


class Breaks(pl.Callback):
    """Saves once in a hook, goes on for a while, and dies."""

    def __init__(self, path, save, die, hook):
        self.path, self.save, self.die = path, save, die
        setattr(self, hook, self.saving)
        self.saved = False

    def saving(self, trainer, *args, **kwargs):
        if trainer.global_step >= self.save and not self.saved:
            trainer.save_checkpoint(self.path)
            self.saved = True

    def on_train_batch_start(self, trainer, *args):
        if trainer.global_step == self.die:
            raise RuntimeError("power cut")


def broken_and_resumed(make_logger, save, die, hook="on_train_batch_end"):
    data = {"train_dataloaders": numbers(8), "val_dataloaders": numbers(4)}
    options = {"max_epochs": 3, "val_check_interval": 2}
    broken = trainer(**options, logger=make_logger(), callbacks=[Breaks("c.ckpt", save, die, hook)])
    with pytest.raises(RuntimeError, match="power cut"):
        broken.fit(Logs(), **data)
    resumed = trainer(**options, logger=make_logger())
    resumed.fit(Logs(), **data, ckpt_path="c.ckpt")
    return resumed.logger


HOOKS = [
    "on_train_epoch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_epoch_end",
]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(("save", "die"), [(3, 7), (4, 6), (5, 9), (8, 11)])
def test_after_a_resume_a_csv_file_is_that_of_an_unbroken_run(tmp_path, save, die, hook):
    whole = CSVLogger(tmp_path / "whole", name="", version=0)
    trainer(max_epochs=3, val_check_interval=2, logger=whole).fit(Logs(), numbers(8), numbers(4))
    broken_and_resumed(lambda: CSVLogger(tmp_path / "broken", name="", version=0), save, die, hook)

    def rows(name):
        with open(tmp_path / name / "version_0" / "metrics.csv") as file:
            return list(csv.DictReader(file))

    assert rows("broken") == rows("whole")


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
def test_after_a_resume_no_tag_of_tensorboard_goes_backwards(tmp_path, hook):
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    logger = broken_and_resumed(
        lambda: TensorBoardLogger(tmp_path, name="", version=0), save=3, die=7, hook=hook
    )
    events = event_accumulator.EventAccumulator(logger.log_dir)
    events.Reload()
    expected = {
        "t_step": list(range(12)),
        "t_epoch": [3, 7, 11],
        "v_step": list(range(12)),
        "v_epoch": [1, 3, 5, 7, 9, 11],
    }
    for name, steps in expected.items():
        assert [event.step for event in events.Scalars(name)] == steps
    x = [event.step for event in events.Scalars("epoch")]
    assert x == sorted(x)


def test_values_reach_every_logger_as_numbers():
    logger = fitted(Logs(), numbers(4), numbers(4)).logger
    assert all(
        type(value) in (int, float) and not isinstance(value, torch.Tensor)
        for _, row in logger.rows
        for value in row.values()
    )
