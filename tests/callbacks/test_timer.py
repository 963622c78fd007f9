"""`Timer` without a run."""

import datetime

import pytest

import pytorch_lightning as pl
from pytorch_lightning.callbacks.timer import Timer
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def trainer_with(*callbacks, **arguments):
    defaults = {
        "max_epochs": 4,
        "limit_train_batches": 4,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **arguments}, callbacks=list(callbacks))


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("00:00:01:00", 60.0),
        ("01:01:01:01", 90061.0),
        ({"hours": 2}, 7200.0),
        (datetime.timedelta(seconds=1.5), 1.5),
        (None, None),
    ],
)
def test_durations(duration, seconds):
    assert Timer(duration).time_remaining() == seconds


@pytest.mark.parametrize("duration", ["12", "00:00:00:22:33", "a:b:c:d", 5])
def test_bad_duration(duration):
    with pytest.raises(MisconfigurationException, match="duration="):
        Timer(duration)


def test_bad_interval():
    with pytest.raises(MisconfigurationException, match="interval='hour'"):
        Timer(interval="hour")


def test_elapsed_time_is_state():
    timer = Timer(duration="00:00:01:00")
    assert timer.state_dict() == {
        "time_elapsed": dict.fromkeys(("train", "sanity_check", "validate", "test", "predict"), 0.0)
    }
    timer.load_state_dict({"time_elapsed": {"train": 45.0, "validate": 3.0}})
    assert timer.time_remaining() == 15.0
    assert timer.time_elapsed("validate") == 0.0


def test_unknown_stage():
    with pytest.raises(ValueError, match="nowhere"):
        Timer().time_elapsed("nowhere")


def test_training_stops_when_the_time_is_over():
    trainer = trainer_with(Timer(datetime.timedelta(0)))
    trainer.fit(BoringModel())
    assert trainer.global_step == 1


def test_the_clock_may_be_looked_at_once_per_epoch():
    trainer = trainer_with(Timer(datetime.timedelta(0), interval="epoch"))
    trainer.fit(BoringModel())
    assert trainer.current_epoch == 1
    assert trainer.global_step == 4


def test_times_of_the_stages():
    timer = Timer("00:01:00:00")
    trainer = trainer_with(timer, max_epochs=1)
    assert timer.start_time() is None
    trainer.fit(BoringModel())
    trainer.test(BoringModel(), verbose=False)
    assert 0 < timer.time_elapsed("validate") < timer.time_elapsed("train")
    assert timer.time_elapsed("test") > 0
    assert timer.end_time() - timer.start_time() == timer.time_elapsed()
    assert timer.time_remaining() == 3600 - timer.time_elapsed()


def test_a_resumed_run_continues_the_budget(tmp_path):
    first = trainer_with(Timer("00:01:00:00"), max_epochs=1)
    first.fit(BoringModel())
    first.save_checkpoint(tmp_path / "a.ckpt")
    timer = Timer(datetime.timedelta(microseconds=1))
    trainer = trainer_with(timer)
    trainer.fit(BoringModel(), ckpt_path=tmp_path / "a.ckpt")
    assert trainer.global_step == 4
    assert timer.time_elapsed() > first.callbacks[0].time_elapsed()
