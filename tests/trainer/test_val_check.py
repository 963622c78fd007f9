"""When validation runs inside fit."""

import time
from datetime import timedelta

import pytest
from tests.trainer.watched import Endless, Watched, WithLoaders, numbers, quiet

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def validated(train=10, loader=None, **arguments):
    """After how many training batches validation began; an epoch has `train` batches."""
    module = Watched()
    quiet(**arguments).fit(module, loader or numbers(2 * train), numbers(2))
    return module.validated_after()


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (None, [10, 20]),
        (1.0, [10, 20]),
        (0.5, [5, 10, 15, 20]),
        (0.25, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),
        (0.4, [4, 8, 14, 18]),  # the rest of an epoch has none
        (0.01, list(range(1, 21))),
        (3, [3, 6, 9, 13, 16, 19]),
        (10, [10, 20]),
    ],
)
def test_within_an_epoch(interval, expected):
    assert validated(max_epochs=2, val_check_interval=interval) == expected


def test_an_interval_longer_than_an_epoch_is_refused_unless_it_counts_over_epochs():
    with pytest.raises(ValueError, match="`val_check_interval=11`.*check_val_every_n_epoch=None"):
        validated(val_check_interval=11)
    over = {"val_check_interval": 11, "check_val_every_n_epoch": None}
    assert validated(max_epochs=3, **over) == [11, 22]


def test_over_the_whole_run():
    over = {"val_check_interval": 6, "check_val_every_n_epoch": None}
    assert validated(train=4, max_epochs=3, **over) == [6, 12]


@pytest.mark.parametrize("interval", [None, 0.5, 1.0])
def test_counting_over_the_run_needs_a_number(interval):
    with pytest.raises(MisconfigurationException, match="check_val_every_n_epoch=None"):
        quiet(val_check_interval=interval, check_val_every_n_epoch=None)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, -0.5])
def test_bad_intervals_are_refused(wrong):
    with pytest.raises(MisconfigurationException, match=f"`val_check_interval={wrong}`"):
        quiet(val_check_interval=wrong)


def test_every_n_epochs():
    assert validated(train=2, max_epochs=5, check_val_every_n_epoch=2) == [4, 8]
    assert validated(train=4, max_epochs=4, check_val_every_n_epoch=2, val_check_interval=2) == [
        6,
        8,
        14,
        16,
    ]
    with pytest.raises(MisconfigurationException, match="check_val_every_n_epoch=0"):
        quiet(check_val_every_n_epoch=0)


@pytest.mark.parametrize(
    "interval", ["00:00:00:01", timedelta(seconds=1), {"seconds": 1}], ids=["text", "delta", "dict"]
)
@pytest.mark.parametrize("every", [1, None])
def test_after_some_time(interval, every, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Ticks(Watched):
        def training_step(self, batch, batch_idx):
            now[0] += 0.4
            return super().training_step(batch, batch_idx)

    module = Ticks()
    timed = {"val_check_interval": interval, "check_val_every_n_epoch": every}
    quiet(max_epochs=2, **timed).fit(module, numbers(10), numbers(2))
    assert module.validated_after() == [3, 6, 9]


def test_a_time_of_another_form_is_refused():
    with pytest.raises(ValueError, match="DD:HH:MM:SS"):
        quiet(val_check_interval="1 hour")


def test_data_without_a_length():
    assert validated(loader=Endless(3), max_epochs=2) == [3, 6]
    assert validated(loader=Endless(3), max_epochs=2, val_check_interval=2) == [2, 5]
    with pytest.raises(MisconfigurationException, match=r"`val_check_interval=0\.5`"):
        validated(loader=Endless(3), val_check_interval=0.5)


def test_intervals_count_batches_and_not_steps():
    assert validated(val_check_interval=3, accumulate_grad_batches=4) == [3, 6, 9]


def test_none_after_an_epoch_that_max_steps_cut_short():
    assert validated(max_steps=7) == []
    assert validated(max_steps=10) == [10]
    assert validated(max_epochs=2, max_steps=13) == [10]


def test_a_wish_to_stop_brings_a_last_one():
    class Stops(Watched):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            if batch_idx == 2:
                self.trainer.should_stop = True

    module = Stops()
    quiet(max_epochs=9).fit(module, numbers(20), numbers(2))
    assert module.validated_after() == [3]


def test_a_wish_to_stop_brings_a_last_one_also_where_time_decides():
    class Stops(Watched):
        def on_train_batch_end(self, outputs, batch, batch_idx):
            self.trainer.should_stop = True

    module = Stops()
    quiet(val_check_interval={"hours": 1}).fit(module, numbers(20), numbers(2))
    assert module.validated_after() == [1]


def test_none_without_a_validation_step(recwarn):
    class NoStep(WithLoaders):
        validation_step = pl.LightningModule.validation_step

    module = NoStep()
    trainer = quiet()
    trainer.fit(module)
    assert module.count("val") == 0
    assert not trainer.enable_validation
    assert any("validation is skipped" in str(w.message) for w in recwarn)


def test_the_batch_after_which_it_is_due_can_be_read():
    class Reads(WithLoaders):
        def on_train_start(self):
            self.due = self.trainer.val_check_batch

    for interval, expected in ((None, 4), (0.5, 2), (3, 3)):
        module = Reads()
        quiet(val_check_interval=interval).fit(module)
        assert module.due == expected


def test_a_run_that_trains_several_epochs_counts_from_each_start():
    assert validated(train=5, max_epochs=3, val_check_interval=4) == [4, 9, 14]


def test_limits_change_the_length_of_which_a_share_is_taken():
    assert validated(limit_train_batches=4, val_check_interval=0.5) == [2, 4]
