"""The rules of `EarlyStopping`, without a run."""

import math

import pytest
import torch

from pytorch_lightning.callbacks.early_stopping import EarlyStopping, EarlyStoppingReason
from pytorch_lightning.utilities.exceptions import MisconfigurationException


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
