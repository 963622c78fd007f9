"""`Timer` without a run."""

import datetime

import pytest

from pytorch_lightning.callbacks.timer import Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException


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
