"""What `LearningRateMonitor` promises."""

import pytest
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

import pytorch_lightning as pl
from pytorch_lightning.callbacks.lr_monitor import LearningRateMonitor
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.loggers.logger import DummyLogger
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


def test_rate_monitor_refuses_unknown_intervals():
    with pytest.raises(MisconfigurationException, match="logging_interval='batch'"):
        LearningRateMonitor(logging_interval="batch")


class Rows(DummyLogger):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, {name: round(float(v), 6) for name, v in metrics.items()}))


def logged(configure, arguments=None, *, automatic=True, **trainer):
    """Rows of two epochs of four steps, and the callback."""

    class Configured(BoringModel):
        def training_step(self, batch, batch_idx):
            output = super().training_step(batch, batch_idx)
            return output if self.automatic_optimization else None

        def configure_optimizers(self):
            return configure(self.layer)

    model = Configured()
    model.automatic_optimization = automatic
    callback, logger = LearningRateMonitor(**(arguments or {})), Rows()
    defaults = {"max_epochs": 2, "log_every_n_steps": 2, "logger": logger}
    used = trainer_with(callback, **{**defaults, **trainer})
    used.fit(model)
    return logger.rows, callback, used


def plain(layer):
    return SGD(layer.parameters(), 0.1)


def scheduled(**config):
    def configure(layer):
        optimizer = SGD(layer.parameters(), 0.1, momentum=0.8, weight_decay=0.01)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": StepLR(optimizer, 1), **config},
        }

    return configure


def two(layer):
    return Adam([layer.weight], 0.1), Adam([layer.bias], 0.2)


@pytest.mark.parametrize(
    ("configure", "interval", "rows"),
    [
        (plain, "epoch", [(0, 0.1), (4, 0.1)]),
        (plain, "step", [(1, 0.1), (3, 0.1), (5, 0.1), (7, 0.1)]),
        (plain, None, [(0, 0.1), (1, 0.1), (3, 0.1), (4, 0.1), (5, 0.1), (7, 0.1)]),
        (scheduled(), None, [(0, 0.1), (4, 0.01)]),
        (scheduled(), "step", [(1, 0.1), (3, 0.1), (5, 0.01), (7, 0.01)]),
        (scheduled(interval="step"), None, [(1, 0.01), (3, 1e-4), (5, 1e-6), (7, 0.0)]),
    ],
)
def test_when_and_what(configure, interval, rows):
    found, callback, trainer = logged(configure, {"logging_interval": interval})
    assert found == [(step, {"lr-SGD": rate}) for step, rate in rows]
    assert callback.lrs["lr-SGD"] == pytest.approx([rate for _, rate in rows], abs=1e-7)
    assert trainer.callback_metrics["lr-SGD"] == pytest.approx(rows[-1][1], abs=1e-7)


def names(configure, arguments=None, **more):
    rows, callback, _ = logged(
        configure, {"logging_interval": "epoch", **(arguments or {})}, **more
    )
    assert list(callback.lrs) == callback.lr_sch_names
    return list(rows[0][1])


def test_names_of_several_optimizers():
    assert names(lambda layer: list(two(layer)), automatic=False) == ["lr-Adam", "lr-Adam-1"]

    def mixed(layer):
        first, second = Adam([layer.weight]), SGD([layer.bias], 0.1)
        return [first, second], [StepLR(second, 1)]

    assert names(mixed, automatic=False) == ["lr-SGD", "lr-Adam"]


def test_names_that_are_given():
    assert names(scheduled(name="warm")) == ["warm"]

    def twice(layer):
        optimizers = two(layer)
        return list(optimizers), [{"scheduler": StepLR(o, 1), "name": "x"} for o in optimizers]

    assert names(twice, automatic=False) == ["x", "x-1"]


def test_names_of_parameter_groups():
    def groups(*labels):
        def configure(layer):
            parts = [{"params": [p]} for p in (layer.weight, layer.bias)]
            for part, label in zip(parts, labels, strict=False):
                part["name"] = label
            return Adam(parts)

        return configure

    assert names(groups()) == ["lr-Adam/pg1", "lr-Adam/pg2"]
    assert names(groups("w")) == ["lr-Adam/w", "lr-Adam/pg2"]
    assert names(groups("w", "b")) == ["lr-Adam/w", "lr-Adam/b"]
    with pytest.raises(MisconfigurationException, match="share the name 'w'"):
        names(groups("w", "w"))


def test_momentum_and_weight_decay():
    arguments = {"logging_interval": "epoch", "log_momentum": True, "log_weight_decay": True}
    rows, callback, _ = logged(scheduled(), arguments)
    assert rows[0] == (0, {"lr-SGD": 0.1, "lr-SGD-momentum": 0.8, "lr-SGD-weight_decay": 0.01})
    assert callback.last_momentum_values == {"lr-SGD-momentum": 0.8}
    assert callback.last_weight_decay_values == {"lr-SGD-weight_decay": 0.01}
    rows, _, _ = logged(lambda layer: Adam(layer.parameters(), 0.1), arguments)
    assert rows[0][1]["lr-Adam-momentum"] == 0.9


def test_prefix():
    assert names(plain, {"log_key_prefix": "rates/"}) == ["rates/lr-SGD"]


def test_each_scheduler_has_its_interval():
    def configure(layer):
        first, second = two(layer)
        by_step = {"scheduler": StepLR(first, 1), "interval": "step"}
        return [first, second], [by_step, StepLR(second, 1)]

    rows, _, _ = logged(configure, automatic=False)
    assert [(step, list(values)) for step, values in rows] == [
        (0, ["lr-Adam-1"]),
        (1, ["lr-Adam"]),
        (3, ["lr-Adam"]),
        (4, ["lr-Adam-1"]),
        (5, ["lr-Adam"]),
        (7, ["lr-Adam"]),
    ]


def test_one_value_per_step_when_batches_are_accumulated():
    arguments = {"logging_interval": "step"}
    rows, _, _ = logged(plain, arguments, accumulate_grad_batches=2, log_every_n_steps=1)
    assert [step for step, _ in rows] == [0, 1, 2, 3]


def test_a_logger_is_needed():
    with pytest.raises(MisconfigurationException, match="none"):
        logged(plain, logger=False)


def test_without_optimizers_it_says_so():
    with pytest.warns(UserWarning, match="no optimizer to monitor"):
        rows, callback, _ = logged(lambda layer: None)
    assert rows == []
    assert callback.lrs == {}
