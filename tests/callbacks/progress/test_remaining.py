"""How much of a run is left."""

import math
from types import SimpleNamespace

import pytest

from pytorch_lightning.callbacks.progress.remaining import batches_left, in_words


def limits(**given):
    values = {"max_epochs": None, "max_steps": -1, "current_epoch": 0, "global_step": 0}
    return SimpleNamespace(**{**values, "num_training_batches": 10, **given})


@pytest.mark.parametrize(
    ("run", "done", "left"),
    [
        (limits(max_epochs=3), 4, 26),
        (limits(max_epochs=3, current_epoch=2), 10, 0),
        (limits(max_steps=30, global_step=5), 5, 50),
        (limits(max_epochs=2, max_steps=30), 0, 20),
        (limits(max_epochs=9, max_steps=3), 0, 6),
        (limits(), 3, math.inf),
        (limits(max_epochs=-1), 3, math.inf),
        (limits(max_epochs=2, num_training_batches=math.inf), 3, math.inf),
    ],
)
def test_batches_left_until_the_first_limit(run, done, left):
    assert batches_left(run, done, batches_per_step=2.0) == left


def test_steps_say_nothing_before_the_first_one():
    assert batches_left(limits(max_steps=3), 0, batches_per_step=math.inf) == math.inf


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (4e5, "111:06:40")]
)
def test_durations_in_words(seconds, text):
    assert in_words(seconds) == text
