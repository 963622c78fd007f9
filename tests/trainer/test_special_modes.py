"""fast_dev_run, overfit_batches, barebones, reload, sanity check, anomaly and inference mode."""

import os
import random
import warnings

import numpy
import pytest
import torch
from tests.trainer.watched import Endless, Numbers, Watched, WithLoaders, numbers, quiet
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities.exceptions import MisconfigurationException

# --- fast_dev_run -------------------------------------------------------------------------------


@pytest.mark.parametrize(("fast", "count"), [(True, 1), (1, 1), (2, 2)])
def test_fast_dev_run_is_so_many_batches_of_everything(fast, count):
    module = WithLoaders()
    trainer = quiet(
        fast_dev_run=fast,
        max_epochs=9,
        num_sanity_val_steps=2,
        val_check_interval=0.25,
        check_val_every_n_epoch=3,
    )
    trainer.fit(module)
    trainer.validate(module, verbose=False)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    counts = {name: module.count(name) for name in ("train", "val", "test", "predict", "sanity")}
    assert counts == {
        "train": count,
        "val": 2 * count,
        "test": count,
        "predict": count,
        "sanity": 0,
    }
    assert (trainer.max_steps, trainer.max_epochs, trainer.global_step) == (count, 1, count)
    assert (trainer.val_check_interval, trainer.check_val_every_n_epoch) == (1.0, 1)


def test_fast_dev_run_leaves_no_trace(tmp_path):
    save = ModelCheckpoint(tmp_path, save_last=True)
    stop = EarlyStopping("val_mean", patience=1, divergence_threshold=-1.0)
    logger = CSVLogger(tmp_path)
    trainer = pl.Trainer(
        fast_dev_run=3,
        callbacks=[save, stop],
        logger=logger,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(WithLoaders())
    assert trainer.global_step == 3
    assert list(tmp_path.iterdir()) == []
    assert isinstance(trainer.logger, DummyLogger)
    assert trainer.log_dir is None
    assert save.best_model_path == ""


def test_fast_dev_run_zero_or_false_is_off():
    for off in (0, False):
        module = WithLoaders()
        quiet(fast_dev_run=off).fit(module)
        assert module.count("train") == 4
    with pytest.raises(MisconfigurationException, match="fast_dev_run=-1"):
        quiet(fast_dev_run=-1)


def test_fast_dev_run_ignores_words_for_files_there_cannot_be():
    trainer, module = quiet(fast_dev_run=True), WithLoaders()
    trainer.fit(module)
    assert trainer.test(ckpt_path="best", verbose=False) == [{"test_mean": 10.5}]


# --- overfit_batches ----------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "train", "val"), [(2, 2, 2), (0.5, 5, 3), (1, 1, 1)])
def test_overfit_batches_limits_training_and_validation_alone(amount, train, val):
    module, trainer = Watched(), quiet(overfit_batches=amount)
    trainer.fit(module, numbers(20), numbers(12))
    assert (module.count("train"), module.count("val")) == (train, val)
    trainer.test(module, numbers(20), verbose=False)
    trainer.predict(module, numbers(20))
    assert (module.count("test"), module.count("predict")) == (10, 10)
    assert trainer.limit_train_batches == trainer.limit_val_batches == amount


class Batches(Watched):
    def training_step(self, batch, batch_idx):
        self.note("first", *batch[:, 0].tolist())
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.note("checked", *batch[:, 0].tolist())


def test_overfit_batches_turns_shuffling_off_and_says_so():
    module, trainer = Batches(), quiet(overfit_batches=2, max_epochs=2)
    with pytest.warns(UserWarning, match="shuffling off"):
        trainer.fit(module, numbers(8, shuffle=True), numbers(4, start=50))
    assert [e[1:] for e in module.seen if e[0] == "first"] == [(0, 1), (2, 3)] * 2
    assert [e[1:] for e in module.seen if e[0] == "checked"] == [(50, 51), (52, 53)] * 2


def test_overfit_batches_keeps_the_rest_of_a_loader():
    rows = [torch.ones(2)] * 8
    loader = DataLoader(rows, batch_sampler=BatchSampler(RandomSampler(rows), 4, drop_last=True))
    module, trainer = Watched(), quiet(overfit_batches=1)
    with pytest.warns(UserWarning, match="shuffling off"):
        trainer.fit(module, loader)
    used = trainer.train_dataloader
    assert isinstance(used.sampler, SequentialSampler)
    assert isinstance(used.batch_sampler.sampler, SequentialSampler)
    assert (used.batch_sampler.batch_size, used.batch_sampler.drop_last) == (4, True)
    assert isinstance(loader.batch_sampler.sampler, RandomSampler)  # the user's own is untouched


def test_overfit_batches_keeps_what_a_random_subset_draws():
    loader = numbers(20, sampler=SubsetRandomSampler([4, 7, 9, 12]))
    module, trainer = Batches(), quiet(overfit_batches=1.0, max_epochs=3)
    with pytest.warns(UserWarning, match="shuffling off"):
        trainer.fit(module, loader)
    first, *others = [[e[1:] for e in module.seen if e[0] == "first"][i : i + 2] for i in (0, 2, 4)]
    assert others == [first, first]
    assert sorted(sum(first, ())) == [4, 7, 9, 12]


# --- barebones ----------------------------------------------------------------------------------


def test_barebones_turns_everything_off(tmp_path):
    class Logs(WithLoaders):
        def training_step(self, batch, batch_idx):
            self.log("lost", 1.0)
            return super().training_step(batch, batch_idx)

    trainer = pl.Trainer(barebones=True, max_epochs=1, default_root_dir=tmp_path)
    module = Logs()
    with pytest.warns(UserWarning, match="barebones"):
        trainer.fit(module)
    assert trainer.barebones
    assert (trainer.callbacks, trainer.loggers) == ([], [])
    assert (module.count("train"), module.count("sanity"), module.count("val")) == (4, 0, 2)
    assert trainer.callback_metrics == {}
    assert (trainer.num_sanity_val_steps, trainer.log_every_n_steps) == (0, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "also",
    [
        {"enable_checkpointing": True},
        {"logger": True},
        {"enable_progress_bar": True},
        {"enable_model_summary": True},
        {"num_sanity_val_steps": 2},
        {"log_every_n_steps": 5},
        {"fast_dev_run": True},
        {"detect_anomaly": True},
        {"profiler": "simple"},
    ],
    ids=lambda also: next(iter(also)),
)
def test_barebones_refuses_what_it_would_switch_off(also):
    [name] = also
    with pytest.raises(ValueError, match=f"barebones=True, {name}="):
        pl.Trainer(barebones=True, **also)


def test_barebones_allows_what_is_off_anyway():
    off = {
        "enable_checkpointing": False,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 0,
        "fast_dev_run": False,
        "detect_anomaly": False,
    }
    assert pl.Trainer(barebones=True, **off).barebones


# --- reload_dataloaders_every_n_epochs ----------------------------------------------------------


@pytest.mark.parametrize(("every", "epochs"), [(0, [0]), (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4])])
@pytest.mark.parametrize("owner", ["module", "datamodule"])
def test_loaders_are_asked_for_again(every, epochs, owner):
    asked = {"train": [], "val": []}

    class Asked(WithLoaders):
        def train_dataloader(self):
            asked["train"].append(self.trainer.current_epoch)
            return numbers(8)

        def val_dataloader(self):
            asked["val"].append(self.trainer.current_epoch)
            return numbers(4)

    class AskedData(Numbers):
        train_dataloader = Asked.train_dataloader
        val_dataloader = Asked.val_dataloader

    trainer = quiet(max_epochs=5, reload_dataloaders_every_n_epochs=every)
    if owner == "module":
        trainer.fit(Asked())
    else:
        trainer.fit(Watched(), datamodule=AskedData())
    assert asked == {"train": epochs, "val": epochs}


def test_a_reloaded_loader_may_have_another_length():
    class Grows(WithLoaders):
        def train_dataloader(self):
            return numbers(2 * (self.trainer.current_epoch + 1))

        def on_train_epoch_end(self):
            self.note("length", self.trainer.num_training_batches)

    module = Grows()
    quiet(max_epochs=3, reload_dataloaders_every_n_epochs=1).fit(module)
    assert [e[1] for e in module.seen if e[0] == "length"] == [1, 2, 3]
    assert module.count("train") == 6
    assert module.validated_after() == [1, 3, 6]


def test_loaders_are_asked_for_once_per_fit_and_iterated_every_epoch():
    class Counted(Endless):
        begun = 0

        def __iter__(self):
            self.begun += 1
            return super().__iter__()

    loader = Counted(2)

    class Asked(WithLoaders):
        def train_dataloader(self):
            self.note("asked")
            return loader

    module, trainer = Asked(), quiet(max_epochs=3, limit_val_batches=0)
    trainer.fit(module)
    assert (module.seen.count("asked"), loader.begun) == (1, 3)
    trainer.fit_loop.max_epochs = 4
    trainer.fit(module)
    assert (module.seen.count("asked"), loader.begun) == (2, 4)


def test_a_negative_interval_of_reloading_is_refused():
    with pytest.raises(MisconfigurationException, match="reload_dataloaders_every_n_epochs=-1"):
        quiet(reload_dataloaders_every_n_epochs=-1)


# --- sanity check -------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "batches"), [(None, 2), (0, 0), (1, 1), (-1, 5), (99, 5)])
def test_the_sanity_check_takes_so_many_batches_per_loader(steps, batches):
    module = Watched()
    trainer = quiet(num_sanity_val_steps=steps)
    trainer.fit(module, numbers(2), [numbers(10), numbers(10)])
    assert module.count("sanity") == 2 * batches
    with pytest.raises(MisconfigurationException, match="num_sanity_val_steps=-2"):
        quiet(num_sanity_val_steps=-2)


def test_the_sanity_check_leaves_no_trace(tmp_path):
    def draws():
        return random.random(), float(numpy.random.rand()), float(torch.rand(()))

    class Draws(WithLoaders):
        def validation_step(self, batch, batch_idx):
            draws()
            self.log("val_mean", batch.mean(), on_step=True)
            self.note("sanity" if self.trainer.sanity_checking else "val", batch_idx)

        def on_train_start(self):
            self.found = draws()
            self.metrics = dict(self.trainer.callback_metrics)
            self.rows = self.trainer.logger.experiment.metrics[:]

    found = []
    for steps in (0, 2):
        pl.seed_everything(1, verbose=False)
        module = Draws()
        logger = CSVLogger(tmp_path / str(steps))
        trainer = quiet(num_sanity_val_steps=steps, logger=logger, log_every_n_steps=1)
        trainer.fit(module)
        found.append(module.found)
        assert module.metrics == {}
        assert module.rows == []
        assert module.count("sanity") == steps
        assert module.count("val") == 2
    assert found[0] == found[1]


def test_no_sanity_check_on_resume(tmp_path):
    trainer = quiet()
    trainer.fit(WithLoaders())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    module = WithLoaders()
    quiet(max_epochs=2, num_sanity_val_steps=2).fit(module, ckpt_path=tmp_path / "a.ckpt")
    assert (module.count("sanity"), module.count("train")) == (0, 4)


def test_no_epochs_at_all_still_check():
    for arguments in ({"max_epochs": 0}, {"max_steps": 0}):
        module = WithLoaders()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quiet(num_sanity_val_steps=2, **arguments).fit(module)
        assert module.seen == [("sanity", 0), ("sanity", 1)]


# --- modes of torch -----------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "inference"), [(True, True), (False, False), (None, None)])
def test_inference_mode_of_evaluation_alone(flag, inference):
    class Modes(WithLoaders):
        def look(self):
            self.note(self.trainer.state.fn.value, torch.is_inference_mode_enabled())
            assert not torch.is_grad_enabled()

        def validation_step(self, batch, batch_idx):
            self.look()

        def test_step(self, batch, batch_idx):
            self.look()

        def predict_step(self, batch, batch_idx):
            self.look()

    module = Modes()
    arguments = {} if flag is None else {"inference_mode": flag}
    trainer = quiet(limit_val_batches=1, limit_test_batches=1, limit_predict_batches=1, **arguments)
    trainer.fit(module)
    trainer.validate(module, verbose=False)
    trainer.test(module, verbose=False)
    trainer.predict(module)
    expected = True if inference is None else inference
    assert [e for e in module.seen if e[0] != "train"] == [
        ("fit", False),
        ("validate", expected),
        ("test", expected),
        ("predict", expected),
    ]


def test_anomalies_are_looked_for_in_fit_alone():
    class Anomaly(WithLoaders):
        def training_step(self, batch, batch_idx):
            self.note("anomaly", torch.is_anomaly_enabled())
            return super().training_step(batch, batch_idx)

        def test_step(self, batch, batch_idx):
            self.note("anomaly", torch.is_anomaly_enabled())

    for flag in (True, False):
        module, trainer = Anomaly(), quiet(detect_anomaly=flag, limit_train_batches=1)
        trainer.fit(module)
        assert ("anomaly", flag) in module.seen
        module.seen.clear()
        trainer.test(module, verbose=False)
        assert ("anomaly", False) in module.seen
        assert ("anomaly", True) not in module.seen
        assert not torch.is_anomaly_enabled()


def test_deterministic_and_benchmark():
    quiet(deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert torch.backends.cudnn.benchmark is False
    quiet(deterministic="warn")
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    quiet(deterministic=True, benchmark=True)
    assert torch.backends.cudnn.benchmark is True
    quiet()  # None leaves everything as it is
    assert torch.backends.cudnn.benchmark is True
    assert torch.are_deterministic_algorithms_enabled()
    quiet(deterministic=False, benchmark=False)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark is False
    with pytest.raises(TypeError, match="deterministic='yes'"):
        quiet(deterministic="yes")


def test_deterministic_sets_the_workspace_of_cublas(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    quiet(deterministic=True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
