"""The rules of `EarlyStopping`, without a run."""

import math

import pytest
import torch

import pytorch_lightning as pl
from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
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


def checks_until_stop(values, **arguments):
    """At which value the callback wants to stop, counted from 1; None if at none."""
    callback = EarlyStopping("loss", **arguments)
    for count, value in enumerate(values, start=1):
        if callback._evaluate_stopping_criteria(torch.tensor(value))[0]:
            return count, callback.stopping_reason
    return None, callback.stopping_reason


@pytest.mark.parametrize(
    ("values", "arguments", "stop", "reason"),
    [
        ([5, 4, 3, 2, 1], {"patience": 1}, None, "NOT_STOPPED"),
        ([1, 1, 1, 1], {"patience": 2}, 3, "PATIENCE_EXHAUSTED"),
        ([1, 1, 1, 1], {"patience": 0}, 2, "PATIENCE_EXHAUSTED"),
        ([1, 2, 0.5, 2, 2], {"patience": 2}, 5, "PATIENCE_EXHAUSTED"),
        ([1, 2, 3, 3], {"patience": 1, "mode": "max"}, 4, "PATIENCE_EXHAUSTED"),
        ([1.0, 0.5, 0.0], {"patience": 1, "min_delta": 0.5}, 2, "PATIENCE_EXHAUSTED"),
        ([1.0, 0.25, 0.0], {"patience": 1, "min_delta": 0.5}, 3, "PATIENCE_EXHAUSTED"),
        ([1.0, 1.5, 1.75], {"patience": 1, "min_delta": 0.5, "mode": "max"}, 2, None),
        ([3, 2, 1], {"stopping_threshold": 1.5}, 3, "STOPPING_THRESHOLD"),
        ([3, 2, 1], {"stopping_threshold": 1.0}, None, "NOT_STOPPED"),
        ([1, 2, 3], {"stopping_threshold": 1.5, "mode": "max"}, 2, "STOPPING_THRESHOLD"),
        ([3, 2, 11], {"divergence_threshold": 10.0}, 3, "DIVERGENCE_THRESHOLD"),
        ([3, 2, -11], {"divergence_threshold": -10.0, "mode": "max"}, 3, "DIVERGENCE_THRESHOLD"),
        ([3, math.nan], {}, 2, "NON_FINITE_METRIC"),
        ([3, math.inf], {}, 2, "NON_FINITE_METRIC"),
        ([math.nan, math.nan], {"check_finite": False, "patience": 2}, 2, "PATIENCE_EXHAUSTED"),
    ],
)
def test_when_it_stops(values, arguments, stop, reason):
    count, why = checks_until_stop([float(value) for value in values], **arguments)
    assert count == stop
    if reason is not None:
        assert why is EarlyStoppingReason[reason]


def test_the_message_is_kept():
    callback = EarlyStopping("loss", stopping_threshold=1.0)
    stops, message = callback._evaluate_stopping_criteria(torch.tensor(0.5))
    assert stops
    assert message == callback.stopping_reason_message
    assert "loss = 0.5 < 1.0" in message


def test_patience_of_the_constructor_wins_over_the_file():
    old = EarlyStopping("loss", patience=2)
    for value in (1.0, 2.0):
        old._evaluate_stopping_criteria(torch.tensor(value))
    assert old.state_dict() == {
        "wait_count": 1,
        "stopped_epoch": 0,
        "best_score": torch.tensor(1.0),
        "patience": 2,
        "stopping_reason": 0,
        "stopping_reason_message": None,
    }
    new = EarlyStopping("loss", patience=7)
    new.load_state_dict(old.state_dict())
    assert (new.patience, new.wait_count, new.best_score.item()) == (7, 1, 1.0)


def test_state_of_releases_without_a_reason():
    callback = EarlyStopping("loss")
    callback.load_state_dict(
        {"wait_count": 2, "stopped_epoch": 3, "best_score": torch.tensor(0.1), "patience": 3}
    )
    assert callback.stopping_reason is EarlyStoppingReason.NOT_STOPPED
    assert (callback.wait_count, callback.stopped_epoch) == (2, 3)


def test_state_key():
    assert EarlyStopping("a").state_key == "EarlyStopping{'monitor': 'a', 'mode': 'min'}"


@pytest.mark.parametrize(
    ("arguments", "message"), [({"mode": "up"}, "mode='up'"), ({"patience": -1}, "patience=-1")]
)
def test_bad_arguments(arguments, message):
    with pytest.raises(MisconfigurationException, match=message):
        EarlyStopping("loss", **arguments)


def test_monitor_is_required():
    with pytest.raises(TypeError, match="monitor"):
        EarlyStopping()


def test_missing_metric_is_an_error_that_suggests_one():
    callback = EarlyStopping("val_los")
    with pytest.raises(RuntimeError, match="Did you mean 'val_loss'"):
        callback._validate_condition_metric({"val_loss": torch.tensor(1.0)})


def test_missing_metric_is_a_warning_when_not_strict():
    callback = EarlyStopping("val_los", strict=False, verbose=True)
    with pytest.warns(RuntimeWarning, match="val_los"):
        assert not callback._validate_condition_metric({})


class Scored(BoringModel):
    """Its `loss` of each epoch is known beforehand."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def on_validation_epoch_end(self):
        self.log("loss", float(self.scores[self.trainer.current_epoch]))


def test_patience_counts_checks():
    callback = EarlyStopping("loss", patience=2)
    trainer = trainer_with(callback, max_epochs=10)
    trainer.fit(Scored([1] * 10))
    assert trainer.current_epoch == 3
    assert (callback.stopped_epoch, callback.wait_count) == (2, 2)
    assert callback.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED


def test_several_checks_in_an_epoch():
    callback = EarlyStopping("loss", patience=2)
    trainer = trainer_with(callback, val_check_interval=2)
    trainer.fit(Scored([1] * 4))
    assert trainer.global_step == 6


def test_minimum_of_epochs_still_holds():
    trainer = trainer_with(EarlyStopping("loss", patience=1), max_epochs=10, min_epochs=5)
    trainer.fit(Scored([1] * 10))
    assert trainer.current_epoch == 5


def test_checks_move_to_validations_that_are_rare():
    callback = EarlyStopping("loss", patience=1)
    trainer = trainer_with(callback, max_epochs=10, check_val_every_n_epoch=2)
    trainer.fit(Scored([1] * 10))
    assert callback.stopped_epoch == 3


def test_the_metric_of_the_module_s_own_hook_is_that_of_this_epoch():
    class Late(BoringModel):
        def on_train_epoch_end(self):
            self.log("loss", float([3, 2, 2, 2][self.trainer.current_epoch]))

    callback = EarlyStopping("loss", patience=1)
    trainer_with(callback).fit(Late())
    assert callback.stopped_epoch == 2
    assert callback.best_score == 2.0


def test_first_check_without_the_metric_is_an_error():
    with pytest.raises(RuntimeError, match="Did you mean 'loss'"):
        trainer_with(EarlyStopping("los")).fit(Scored([1] * 4))


def test_nothing_is_checked_where_nothing_is_trained_for_good():
    callback = EarlyStopping("missing")
    trainer_with(callback, fast_dev_run=1).fit(Scored([1] * 4))
    trainer_with(callback).validate(BoringModel(), verbose=False)
    trainer_with(callback, num_sanity_val_steps=2, max_epochs=0).fit(Scored([1] * 4))
    assert callback.wait_count == 0


def test_a_resumed_run_stops_where_the_uninterrupted_one_does(tmp_path):
    scores = [5, 4, 6, 6, 6, 6, 6, 6]
    whole = EarlyStopping("loss", patience=3)
    trainer_with(whole, max_epochs=8).fit(Scored(scores))
    first = trainer_with(EarlyStopping("loss", patience=3), max_epochs=3)
    first.fit(Scored(scores))
    first.save_checkpoint(tmp_path / "a.ckpt")
    resumed = EarlyStopping("loss", patience=3)
    trainer_with(resumed, max_epochs=8).fit(Scored(scores), ckpt_path=tmp_path / "a.ckpt")
    assert resumed.stopped_epoch == whole.stopped_epoch == 4
    assert resumed.best_score == 4.0


def test_more_patience_can_be_given_on_resume(tmp_path):
    first = trainer_with(EarlyStopping("loss", patience=1), max_epochs=8)
    first.fit(Scored([1] * 8))
    first.save_checkpoint(tmp_path / "a.ckpt")
    resumed = EarlyStopping("loss", patience=4)
    trainer_with(resumed, max_epochs=8).fit(Scored([1] * 8), ckpt_path=tmp_path / "a.ckpt")
    assert resumed.stopped_epoch == 4


def test_verbose_says_what_happens(caplog):
    with caplog.at_level("INFO"):
        trainer_with(EarlyStopping("loss", patience=1, verbose=True)).fit(Scored([2, 1, 1, 1]))
    assert "improved by 1.000" in caplog.text
    assert "did not improve in the last 1 checks" in caplog.text


def test_silent_by_default(caplog):
    with caplog.at_level("INFO"):
        trainer_with(EarlyStopping("loss", patience=1)).fit(Scored([2, 1, 1, 1]))
    assert "improve" not in caplog.text
