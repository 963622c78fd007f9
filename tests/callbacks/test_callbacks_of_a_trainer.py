"""Which callbacks a trainer has, in what order they are called, and what becomes of their state."""

import copy
import importlib
import logging

import pytest
import torch
from tests.small_runs import Memory, Small, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    GradientAccumulationScheduler,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    ModelSummary,
    OnExceptionCheckpoint,
    ProgressBar,
    Timer,
)


class Counter(Callback):
    """Counts batches and keeps the count; two with other words keep theirs apart."""

    def __init__(self, word="a"):
        self.word, self.count = word, 0

    @property
    def state_key(self):
        return self._generate_state_key(word=self.word)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.count += 1

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Kept(Counter):
    """A counter whose key is the default one."""

    state_key = Callback.state_key


def names(of):
    return [type(callback).__name__ for callback in of.callbacks]


def test_hooks_get_trainer_module_and_what_they_are_about():
    seen = {}

    class Everything(Callback):
        def setup(self, trainer, pl_module, stage):
            seen["setup"] = (trainer, pl_module, stage)

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            seen["batch"] = (trainer, pl_module, sorted(outputs), len(batch[0]), batch_idx)

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, loader=0):
            seen["validation"] = (trainer, pl_module, outputs, len(batch[0]), batch_idx, loader)

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            seen["save"] = (trainer, pl_module, checkpoint["global_step"])

        def on_exception(self, trainer, pl_module, exception):
            seen["exception"] = (trainer, pl_module, str(exception))

        def teardown(self, trainer, pl_module, stage):
            seen["teardown"] = (trainer, pl_module, stage)

    module, of = Small(), trainer(callbacks=[Everything()], enable_checkpointing=True)
    of.fit(module)
    assert seen == {
        "setup": (of, module, "fit"),
        "batch": (of, module, ["loss"], 2, 3),
        "validation": (of, module, None, 2, 1, 0),
        "save": (of, module, 4),
        "teardown": (of, module, "fit"),
    }
    module.training_step = lambda batch, batch_idx: 1 / 0
    of.fit_loop.max_epochs = 2
    with pytest.raises(ZeroDivisionError):
        of.fit(module)
    assert seen["exception"] == (of, module, "division by zero")


def test_a_resumed_callback_gets_its_state_and_the_whole_checkpoint(tmp_path):
    seen = []

    class Loading(Kept):
        def on_load_checkpoint(self, trainer, pl_module, checkpoint):
            seen.append((pl_module, checkpoint["global_step"], self.count))

    first = trainer(callbacks=[Loading()])
    first.fit(Small())
    first.save_checkpoint(tmp_path / "x.ckpt")
    module, callback = Small(), Loading()
    trainer(callbacks=[callback]).fit(module, ckpt_path=tmp_path / "x.ckpt")
    assert seen == [(module, 4, 0)]
    assert callback.count == 4


def test_the_key_of_a_state():
    assert Callback().state_key == "Callback"
    assert Kept().state_key == "Kept"
    assert Counter("b").state_key == "Counter{'word': 'b'}"


def test_two_of_a_class_keep_their_states_apart(tmp_path):
    callbacks = [Counter("a"), Counter("b")]
    of = trainer(callbacks=callbacks)
    of.fit(Small())
    callbacks[1].count = 7
    of.save_checkpoint(tmp_path / "x.ckpt")
    states = torch.load(tmp_path / "x.ckpt", weights_only=True)["callbacks"]
    assert states["Counter{'word': 'a'}"] == {"count": 4}
    assert states["Counter{'word': 'b'}"] == {"count": 7}
    again = [Counter("b"), Counter("a")]
    trainer(callbacks=again).fit(Small(), ckpt_path=tmp_path / "x.ckpt")
    assert [callback.count for callback in again] == [7, 4]


def test_two_states_under_one_key_are_refused_at_construction():
    with pytest.raises(RuntimeError, match=r"Two Kept callbacks.*'Kept'.*state_key"):
        trainer(callbacks=[Kept(), Kept()])
    trainer(callbacks=[LambdaCallback(), LambdaCallback()])  # without state no key is needed


def test_checkpoints_come_last_and_tuners_first():
    class BatchSizeFinder(Callback):
        pass

    saver, stopper, user = ModelCheckpoint(), EarlyStopping("x"), Kept()
    of = trainer(
        callbacks=[saver, stopper, BatchSizeFinder(), user],
        enable_model_summary=True,
        enable_progress_bar=True,
        max_time="00:01:00:00",
        accumulate_grad_batches={1: 2},
    )
    assert names(of)[:3] == ["BatchSizeFinder", "EarlyStopping", "Kept"]
    assert of.callbacks[-1] is saver
    automatic = names(of)[3:-1]
    assert {"ModelSummary", "Timer", "GradientAccumulationScheduler"} < set(automatic)
    assert len(automatic) == 4  # and a progress bar


def test_what_a_trainer_adds_unasked():
    of = pl.Trainer()
    for kind in (ModelCheckpoint, ModelSummary, ProgressBar):
        assert sum(isinstance(callback, kind) for callback in of.callbacks) == 1, kind
    assert len(of.callbacks) == 3
    of = pl.Trainer(max_time={"minutes": 1}, accumulate_grad_batches={0: 1, 2: 3})
    for kind in (Timer, GradientAccumulationScheduler):
        assert sum(isinstance(callback, kind) for callback in of.callbacks) == 1, kind


def test_one_s_own_takes_the_place_of_the_automatic_one():
    bar, summary, saver = pl.callbacks.TQDMProgressBar(), ModelSummary(2), ModelCheckpoint()
    of = pl.Trainer(callbacks=[bar, summary, saver])
    assert of.callbacks == [bar, summary, saver]
    assert of.progress_bar_callback is bar
    assert of.checkpoint_callbacks == [saver]


def order_of(hook, callbacks, events):
    module = Small()
    setattr(module, hook, lambda *args: events.append("module"))
    trainer(callbacks=callbacks).fit(module)
    return events


@pytest.mark.parametrize("hook", ["on_train_start", "on_validation_end", "on_train_batch_end"])
def test_callbacks_come_before_the_module(hook):
    events = []
    saver = type("Saver", (Checkpoint,), {hook: lambda *args: events.append("saver")})()
    plain = LambdaCallback(**{hook: lambda *args: events.append("plain")})
    assert order_of(hook, [saver, plain], events)[:3] == ["plain", "saver", "module"]


def test_those_that_read_metrics_come_after_the_module_at_the_end_of_an_epoch():
    events, hook = [], "on_train_epoch_end"
    saver = type("Saver", (Checkpoint,), {hook: lambda *args: events.append("saver")})()
    stop = type("Stop", (EarlyStopping,), {hook: lambda *args: events.append("stop")})("x")
    plain = LambdaCallback(on_train_epoch_end=lambda *args: events.append("plain"))
    assert order_of(hook, [saver, stop, plain], events) == ["plain", "module", "stop", "saver"]


class Bringing(Small):
    """A module that brings callbacks of its own."""

    def __init__(self, *brought):
        super().__init__()
        self.brought, self.asked = list(brought), 0

    def configure_callbacks(self):
        self.asked += 1
        return self.brought


def test_callbacks_of_the_module_replace_those_of_their_type(caplog):
    class Stricter(EarlyStopping):
        pass

    mine, other = Stricter("val_loss"), Kept()
    module = Bringing(mine, ModelCheckpoint(save_top_k=0))
    of = trainer(callbacks=[EarlyStopping("val_loss"), other, ModelCheckpoint()])
    with caplog.at_level(logging.INFO):
        of.fit(module)
    assert of.callbacks == [other, mine, module.brought[1]]
    assert "EarlyStopping, ModelCheckpoint" in caplog.text


def test_a_callback_of_a_parent_s_type_does_not_replace_a_child_s():
    class Stricter(EarlyStopping):
        pass

    child, parent = Stricter("val_loss"), EarlyStopping("val_loss", patience=9)
    module = Bringing(parent)
    of = trainer(callbacks=[child])
    of.fit(module)
    assert [c for c in of.callbacks if isinstance(c, EarlyStopping)] == [child, parent]


def test_the_module_is_asked_at_every_entry_point_and_the_list_stays():
    class Once(Callback):
        pass

    module = Bringing(Once())
    of = trainer()
    of.fit(module)
    assert names(of) == ["Once"]
    of.validate(module, verbose=False)
    of.test(module, verbose=False)
    assert module.asked == 3
    assert of.callbacks == module.brought


def test_what_the_module_brings_is_called_from_setup_on():
    events = []
    callback = LambdaCallback(
        setup=lambda trainer, pl_module, stage: events.append(stage),
        on_fit_start=lambda *args: events.append("start"),
    )
    trainer().fit(Bringing(callback))
    assert events == ["fit", "start"]


@pytest.mark.parametrize(
    "group", ["lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory"]
)
def test_installed_packages_may_add_callbacks(tmp_path, monkeypatch, group):
    info = tmp_path / "own_callbacks-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-callbacks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nours = own_callbacks:make\n")
    (tmp_path / "own_callbacks.py").write_text(
        "from pytorch_lightning.callbacks import Timer\n"
        "def make():\n    return [Timer(interval='epoch')]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert names(trainer(callbacks=[Kept()], enable_checkpointing=False)) == ["Kept", "Timer"]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_states_are_restored_in_every_entry_point(tmp_path, verb):
    first = trainer(callbacks=[Kept()])
    first.fit(Small())
    first.save_checkpoint(tmp_path / "x.ckpt")
    callback = Kept()
    of = trainer(callbacks=[callback])
    getattr(of, verb)(Small(), ckpt_path=tmp_path / "x.ckpt")
    assert callback.count == 4


def test_states_without_their_callback_are_named(tmp_path):
    first = trainer(callbacks=[Kept(), Counter("b")])
    first.fit(Small())
    first.save_checkpoint(tmp_path / "x.ckpt")
    with pytest.warns(UserWarning, match=r"Counter\{'word': 'b'\}.*Kept"):
        trainer().fit(Small(), ckpt_path=tmp_path / "x.ckpt")


def test_callbacks_log_during_a_run_only():
    logger = Memory()

    class Logging(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.log("one", float(batch_idx))

        def on_train_epoch_end(self, trainer, pl_module):
            self.log_dict({"two": 2.0, "three": 3.0})

    callback = Logging()
    of = trainer(callbacks=[callback], logger=logger, log_every_n_steps=1)
    of.fit(Small())
    assert logger.points("one") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert logger.points("two") == [(3, 2.0)]
    assert of.callback_metrics["three"] == 3.0
    assert not hasattr(callback, "log")
    assert copy.deepcopy(callback).__dict__ == {}


def test_any_checkpoint_callback_counts():
    class Own(Checkpoint):
        pass

    own = Own()
    of = trainer(callbacks=[own, Kept()])
    assert of.checkpoint_callbacks == [own]
    assert of.checkpoint_callback is own
    assert names(of) == ["Kept", "Own"]
    flags = {"meets_idle_ranks", "monitors_metrics", "saves_regularly"}
    assert set(vars(Checkpoint)) - flags == {
        name for name in vars(Checkpoint) if name.startswith("__")
    }


def test_a_file_for_exceptions_does_not_replace_the_ordinary_ones(tmp_path):
    of = trainer(callbacks=[OnExceptionCheckpoint(tmp_path)])
    assert names(of) == ["OnExceptionCheckpoint", "ModelCheckpoint"]
    of.fit(Small())
    assert of.checkpoint_callbacks[1].best_model_path.endswith("epoch=0-step=4.ckpt")


def test_checkpoint_callback_and_flag_contradict_each_other():
    with pytest.raises(pl.utilities.exceptions.MisconfigurationException, match="contradicts"):
        trainer(callbacks=[ModelCheckpoint()], enable_checkpointing=False)
    assert names(pl.Trainer(enable_progress_bar=False, enable_model_summary=False)) == [
        "ModelCheckpoint"
    ]


def test_setup_and_teardown_get_their_stage_by_keyword_and_batch_hooks_by_place():
    seen = []

    class Odd(Callback):
        def setup(self, trainer, pl_module, *, stage):
            seen.append(("setup", stage))

        def teardown(self, trainer, pl_module, *, stage):
            seen.append(("teardown", stage))

        def on_train_batch_start(self, a, b, c, d, /):
            seen.append(("batch", d))

    class OddModule(Small):
        def setup(self, *, stage):
            seen.append(("module", stage))

    trainer(callbacks=[Odd()], limit_train_batches=1, limit_val_batches=0).fit(OddModule())
    assert seen == [("setup", "fit"), ("module", "fit"), ("batch", 0), ("teardown", "fit")]


def test_functions_set_on_an_object_are_hooks_too():
    seen = []
    callback, module, data = Callback(), Small(), pl.LightningDataModule()
    callback.on_train_start = lambda trainer, pl_module: seen.append("callback")
    module.on_train_start = lambda: seen.append("module")
    data.train_dataloader = module.train_dataloader
    data.setup = lambda stage: seen.append("data")
    trainer(callbacks=[callback], limit_val_batches=0).fit(module, datamodule=data)
    assert seen == ["data", "callback", "module"]


def test_classes_mix_with_others():
    for kind in (pl.LightningModule, Callback, pl.LightningDataModule):
        assert type(kind) is type


def test_callbacks_may_come_and_go_while_a_run_goes_on():
    events = []
    late = LambdaCallback(on_train_batch_start=lambda *args: events.append(args[-1]))

    class Changing(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 0:
                trainer.callbacks.append(late)
            if batch_idx == 2:
                trainer.callbacks.remove(late)

    trainer(callbacks=[Changing()], limit_val_batches=0).fit(Small())
    assert events == [1, 2]  # whoever was bound when a hook began hears it


def test_the_rate_monitor_can_be_read():
    monitor = LearningRateMonitor(log_momentum=True)

    class Momentum(Small):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    trainer(callbacks=[monitor], logger=Memory()).fit(Momentum())
    assert monitor.lrs == {"lr-SGD": [0.1]}
    assert monitor.lr_sch_names == ["lr-SGD"]
    assert monitor.last_momentum_values == {"lr-SGD-momentum": 0.9}
