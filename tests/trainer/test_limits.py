"""How long a run is: epochs, steps, time, batches, and who may ask to stop."""

import math
import time
from datetime import timedelta

import pytest
from tests.trainer.watched import Endless, Watched, WithLoaders, numbers, quiet

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities.exceptions import MisconfigurationException


def trained(module=None, loader=None, **arguments):
    """(batches, epochs, steps) of a fit."""
    module = module or WithLoaders()
    trainer = quiet(limit_val_batches=0, **arguments)
    trainer.fit(module, loader)
    return module.count("train"), trainer.current_epoch, trainer.global_step


# --- epochs and steps ---------------------------------------------------------------------------


def test_max_epochs():
    assert trained(max_epochs=3) == (12, 3, 12)
    assert trained(max_epochs=0) == (0, 0, 0)
    assert trained(max_epochs=-1, max_steps=4) == (4, 1, 4)
    with pytest.raises(MisconfigurationException, match="`max_epochs=-2`"):
        quiet(max_epochs=-2)


def test_max_steps_counts_optimizer_steps():
    assert trained(max_epochs=None, max_steps=6) == (6, 2, 6)  # a cut epoch counts
    assert trained(max_epochs=1, max_steps=6) == (4, 1, 4)
    assert trained(max_epochs=None, max_steps=3, accumulate_grad_batches=2) == (6, 2, 3)
    assert trained(max_steps=0) == (0, 0, 0)
    with pytest.raises(MisconfigurationException, match="`max_steps=-2`"):
        quiet(max_steps=-2)


def test_without_a_limit_a_thousand_epochs_and_a_warning():
    class Stops(WithLoaders):
        def on_train_start(self):
            self.trainer.should_stop = True

    trainer = quiet(max_epochs=None, limit_val_batches=0)
    assert trainer.max_epochs is None
    with pytest.warns(UserWarning, match="1000 epochs"):
        trainer.fit(Stops())
    assert trainer.max_epochs == 1000


@pytest.mark.parametrize("arguments", [{"max_steps": 1}, {"callbacks": [Timer(interval="step")]}])
def test_another_limit_makes_epochs_unlimited(arguments, recwarn):
    class Stops(WithLoaders):
        def on_train_start(self):
            self.trainer.should_stop = True

    trainer = quiet(max_epochs=None, limit_val_batches=0, **arguments)
    trainer.fit(Stops())
    assert trainer.max_epochs == -1
    assert not [w for w in recwarn if "1000 epochs" in str(w.message)]


class WantsToStop(WithLoaders):
    def training_step(self, batch, batch_idx):
        self.trainer.should_stop = True
        return super().training_step(batch, batch_idx)


def test_a_wish_to_stop_is_met_after_the_batch():
    module = WantsToStop()
    trainer = quiet(max_epochs=5)
    trainer.fit(module)
    assert (module.count("train"), trainer.current_epoch) == (1, 1)
    assert module.validated_after() == [1]  # one more validation


@pytest.mark.parametrize(
    ("arguments", "batches"),
    [
        ({"min_epochs": 2}, 8),
        ({"min_steps": 3}, 4),  # `min_epochs` is 1 then
        ({"min_steps": 6}, 6),
        ({"min_epochs": 2, "min_steps": 3}, 8),
    ],
)
def test_minimums_hold_a_wish_to_stop_back(arguments, batches):
    assert trained(WantsToStop(), max_epochs=5, **arguments)[0] == batches


def test_min_epochs_becomes_one_beside_min_steps():
    for arguments, expected in (({}, 0), ({"min_steps": 1}, 1)):
        trainer = quiet(limit_val_batches=0, **arguments)
        trainer.fit(WithLoaders())
        assert trainer.min_epochs == expected


def test_a_minimum_above_its_maximum_is_refused():
    with pytest.raises(MisconfigurationException, match="min_steps=3"):
        quiet(min_steps=3, max_steps=2)
    with pytest.raises(MisconfigurationException, match="min_epochs=3"):
        quiet(min_epochs=3, max_epochs=2)


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "max_time", ["00:00:00:01", timedelta(seconds=0.2), {"milliseconds": 200}], ids=str
)
def test_max_time_ends_a_run_between_batches(max_time):
    class Slow(Watched):
        def training_step(self, batch, batch_idx):
            time.sleep(0.1)
            return super().training_step(batch, batch_idx)

    module, trainer = Slow(), quiet(max_epochs=-1, max_time=max_time, limit_val_batches=0)
    trainer.fit(module, Endless())
    assert 1 <= module.count("train") <= 11
    assert [c._interval for c in trainer.callbacks if isinstance(c, Timer)] == ["step"]


def test_max_time_is_ignored_beside_a_timer(caplog):
    timer = Timer(timedelta(hours=1))
    trainer = quiet(max_time="00:00:00:00", callbacks=[timer])
    trainer.fit(WithLoaders())
    assert trainer.global_step == 4
    assert [c for c in trainer.callbacks if isinstance(c, Timer)] == [timer]


@pytest.mark.parametrize("wrong", ["10", "1:2:3", 5, "00:00:00:00:00"])
def test_a_time_of_another_form_is_refused(wrong):
    with pytest.raises((TypeError, ValueError), match="DD:HH:MM:SS"):
        quiet(max_time=wrong)


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "batches"), [(3, 3), (99, 10), (0.5, 5), (0.39, 3), (1.0, 10)])
@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_limits_by_number_and_by_share(stage, limit, batches):
    module, loader = Watched(), numbers(20)
    trainer = quiet(**{f"limit_{stage}_batches": limit})
    if stage == "train":
        trainer.fit(module, loader)
    elif stage == "predict":
        trainer.predict(module, loader)
    else:
        getattr(trainer, {"val": "validate"}.get(stage, stage))(module, loader, verbose=False)
    assert module.count(stage) == batches


def test_limits_hold_for_each_loader():
    module = Watched()
    quiet(limit_test_batches=0.5).test(module, [numbers(8), numbers(20)], verbose=False)
    assert module.seen == [("test", index) for index in (0, 1, 0, 1, 2, 3, 4)]


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_bad_limits_are_refused(stage):
    name = f"limit_{stage}_batches"
    for wrong in (-1, 1.5, -0.1):
        with pytest.raises(MisconfigurationException, match=f"`{name}={wrong}`"):
            quiet(**{name: wrong})
    with pytest.raises(TypeError, match=name):
        quiet(**{name: "half"})


def run(trainer, stage, module, loader):
    if stage == "train":
        trainer.fit(module, loader)
    elif stage == "predict":
        trainer.predict(module, loader)
    else:
        getattr(trainer, {"val": "validate"}.get(stage, stage))(module, loader, verbose=False)


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_a_share_that_leaves_nothing_names_the_least_that_does(stage):
    name = f"limit_{stage}_batches"
    with pytest.raises(MisconfigurationException, match=rf"`{name}=0\.1`.*at least 0\.25"):
        run(quiet(**{name: 0.1}), stage, Watched(), numbers(8))


@pytest.mark.parametrize("stage", ["train", "val", "test", "predict"])
def test_no_share_of_an_unknown_length(stage):
    name = f"limit_{stage}_batches"
    with pytest.raises(MisconfigurationException, match=rf"`{name}=0\.5`.*no length"):
        run(quiet(**{name: 0.5}), stage, Watched(), Endless(3))
    module = Watched()
    run(quiet(**{name: 2}), stage, module, Endless(3))
    assert module.count(stage) == 2


def test_a_limit_of_one_says_how_it_was_understood(caplog, capsys):
    quiet(limit_train_batches=1)
    one = caplog.text + capsys.readouterr().err
    quiet(limit_train_batches=1.0)
    both = caplog.text + capsys.readouterr().err
    assert "limit_train_batches=1)`: 1 batch" in one + both
    assert "limit_train_batches=1.0)`: all batches" in both


def test_no_training_batches_still_checks_validation():
    module = WithLoaders()
    quiet(limit_train_batches=0, num_sanity_val_steps=2).fit(module)
    assert module.seen == [("sanity", 0), ("sanity", 1)]


def test_no_validation_batches_means_no_sanity_check():
    module = WithLoaders()
    quiet(limit_val_batches=0, num_sanity_val_steps=2).fit(module)
    assert (module.count("train"), module.count("sanity"), module.count("val")) == (4, 0, 0)


def test_no_test_batches_means_no_results():
    assert quiet(limit_test_batches=0).test(WithLoaders(), verbose=False) == []
    assert quiet(limit_val_batches=0).validate(WithLoaders(), verbose=False) == []


def test_an_empty_loader_ends_fit_at_once():
    module = Watched()
    with pytest.warns(UserWarning, match="no batch"):
        quiet(max_epochs=3).fit(module, numbers(0))
    assert module.count("train") == 0


# --- estimated_stepping_batches -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "loader", "expected"),
    [
        ({"max_epochs": 3}, numbers(8), 12),
        ({"max_epochs": 3, "accumulate_grad_batches": 3}, numbers(8), 6),
        ({"max_epochs": 3, "max_steps": 5}, numbers(8), 5),
        ({"max_epochs": 3, "limit_train_batches": 2}, numbers(8), 6),
        ({"max_epochs": -1, "max_steps": 7}, numbers(8), 7),
        ({"max_epochs": 3, "max_steps": 7}, Endless(4), 7),
    ],
)
def test_estimated_stepping_batches_inside_configure_optimizers(arguments, loader, expected):
    class Asks(Watched):
        def configure_optimizers(self):
            self.estimate = self.trainer.estimated_stepping_batches
            return super().configure_optimizers()

    module = Asks()
    quiet(**arguments).fit(module, loader)
    assert module.estimate == expected


def test_estimated_stepping_batches_is_infinite_where_nothing_is_known():
    class Asks(Watched):
        def on_train_start(self):
            self.estimate = self.trainer.estimated_stepping_batches
            self.trainer.should_stop = True

    for arguments, loader in (({"max_epochs": -1}, numbers()), ({"max_epochs": 2}, Endless(2))):
        module = Asks()
        quiet(**arguments).fit(module, loader)
        assert module.estimate == math.inf


def test_the_loader_that_the_estimate_asks_for_is_the_one_of_fit():
    class Counts(WithLoaders):
        def train_dataloader(self):
            self.note("asked for")
            return numbers(8)

        def configure_optimizers(self):
            assert self.trainer.estimated_stepping_batches == 4
            return super().configure_optimizers()

    module = Counts()
    quiet().fit(module)
    assert module.count("asked for") == 1


# --- length of an epoch -------------------------------------------------------------------------


class Lasts(Watched):
    def training_step(self, batch, batch_idx):
        self.note("last", batch_idx, self.trainer.is_last_batch)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("loader", [numbers(6), Endless(3)], ids=["sized", "unsized"])
def test_the_last_batch_is_known_while_it_runs(loader):
    module, trainer = Lasts(), quiet(max_epochs=2)
    trainer.fit(module, loader)
    lasts = [entry[1:] for entry in module.seen if entry[0] == "last"]
    assert lasts == [(0, False), (1, False), (2, True)] * 2
    assert trainer.num_training_batches == (3 if not isinstance(loader, Endless) else math.inf)


def test_sized_loaders_are_not_read_ahead_and_others_by_one():
    class Counts(Watched):
        def training_step(self, batch, batch_idx):
            self.note("given", self.loader.given)
            return super().training_step(batch, batch_idx)

    class Sized(Endless):
        def __len__(self):
            return 3

    for loader, expected in ((Endless(3), [2, 3, 3]), (Sized(3), [1, 2, 3])):
        module = Counts()
        module.loader = loader
        quiet().fit(module, loader)
        assert [entry[1] for entry in module.seen if entry[0] == "given"] == expected


def test_interval_of_logging_zero_means_never():
    trainer = pl.Trainer(log_every_n_steps=0, logger=False)
    assert trainer.log_every_n_steps == 0
    assert pl.Trainer(logger=False).log_every_n_steps == 50
