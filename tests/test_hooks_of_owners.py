"""Which hooks there are, who may have them, and how they are called."""

import inspect

import pytest
from tests.mistakes.case import Module, plain, rows, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, LambdaCallback
from pytorch_lightning.trainer.states import RunningStage, TrainerFn, TrainerStatus

BATCH = ["batch", "batch_idx"]
LOADER = [*BATCH, "dataloader_idx"]
STAGES = ("validation", "test", "predict")
HOOKS = {
    **{name: [] for name in ("on_fit_start", "on_fit_end", "on_after_backward")},
    **{f"on_{stage}_{at}": [] for stage in ("train", *STAGES) for at in ("start", "end")},
    **{f"on_{stage}_epoch_{at}": [] for stage in ("train", *STAGES) for at in ("start", "end")},
    **{f"on_{stage}_batch_start": LOADER for stage in STAGES},
    **{f"on_{stage}_batch_end": ["outputs", *LOADER] for stage in STAGES},
    "on_train_batch_start": BATCH,
    "on_train_batch_end": ["outputs", *BATCH],
    "on_sanity_check_start": [],
    "on_sanity_check_end": [],
    "on_before_backward": ["loss"],
    "on_before_optimizer_step": ["optimizer"],
    "on_before_zero_grad": ["optimizer"],
    "on_save_checkpoint": ["checkpoint"],
    "on_load_checkpoint": ["checkpoint"],
    "on_exception": ["exception"],
    "setup": ["stage"],
    "teardown": ["stage"],
}
CALLBACK_ONLY = ("on_sanity_check_start", "on_sanity_check_end", "on_exception")


@pytest.mark.parametrize("name", HOOKS)
def test_a_callback_has_the_hook_with_its_documented_arguments(name):
    arguments = inspect.signature(getattr(Callback, name)).parameters
    assert list(arguments) == ["self", "trainer", "pl_module", *HOOKS[name]]
    if "dataloader_idx" in arguments:
        assert arguments["dataloader_idx"].default == 0


@pytest.mark.parametrize("name", [name for name in HOOKS if name not in CALLBACK_ONLY])
def test_a_module_has_the_hook_with_its_documented_arguments(name):
    assert list(inspect.signature(getattr(pl.LightningModule, name)).parameters) == [
        *("self", *HOOKS[name])
    ]


def test_states_of_callbacks_take_no_trainer():
    assert list(inspect.signature(Callback.state_dict).parameters) == ["self"]
    assert list(inspect.signature(Callback.load_state_dict).parameters) == ["self", "state_dict"]


def listening(calls, name):
    def hook(*args, **kwargs):
        calls.append((name, args, kwargs))

    return hook


def run_everything(module, callback):
    runs = trainer(callbacks=callback)
    runs.fit(module, rows(), plain())
    runs.save_checkpoint("here.ckpt")
    trainer(callbacks=callback, max_epochs=2).fit(module, rows(), plain(), ckpt_path="here.ckpt")
    runs.test(module, plain())
    runs.predict(module, plain())
    return runs


def test_each_hook_of_a_callback_is_called_with_trainer_and_module_first():
    calls, module = [], Module()
    names = [name for name in HOOKS if name != "on_exception"]
    hooks = {name: listening(calls, name) for name in names}
    callback = type("All", (Callback,), {n: staticmethod(hook) for n, hook in hooks.items()})()
    run_everything(module, callback)
    assert {name for name, _, _ in calls} == set(names)
    for name, args, kwargs in calls:
        assert isinstance(args[0], pl.Trainer)
        assert args[1] is module
        if name in ("setup", "teardown"):
            assert (len(args), list(kwargs)) == (2, ["stage"])
        else:
            assert (len(args) - 2, kwargs) == (len(HOOKS[name]), {}), name


def test_functions_set_on_objects_count_as_overriding():
    calls = []
    module, callback, data = Module(), Callback(), pl.LightningDataModule.from_datasets([1.0])
    data.train_dataloader, data.val_dataloader = rows, plain
    module.on_train_start = lambda: calls.append("module")
    callback.on_train_start = lambda trainer, pl_module: calls.append("callback")
    data.setup = lambda stage: calls.append(f"datamodule {stage}")
    trainer(callbacks=callback).fit(module, datamodule=data)
    assert calls == ["datamodule fit", "callback", "module"]


def test_no_public_method_beyond_the_documented_ones_is_called():
    calls = []

    class Curious(Module):
        def __getattribute__(self, name):
            found = super().__getattribute__(name)
            if not name.startswith("_") and name in vars(Curious):
                calls.append(name)
            return found

        def run(self):
            raise AssertionError

        step = train_step = fit = close = save = run

    trainer().fit(Curious(), rows(), plain())
    assert calls == []


def test_lambda_callback_takes_the_hooks_of_callback_and_no_other():
    taken = set(inspect.signature(LambdaCallback).parameters) - {"self"}
    assert set(HOOKS) <= taken
    assert taken == {
        name
        for name, _ in inspect.getmembers(Callback, inspect.isfunction)
        if name.startswith("on_") or name in ("setup", "teardown")
    }


def test_owners_of_hooks_mix_with_any_other_base():
    class Meta(type):
        pass

    class Other(metaclass=Meta):
        pass

    for owner in (pl.LightningModule, Callback, pl.LightningDataModule):
        assert type(owner) is type
        assert Meta("Mixed", (owner, Other), {})() is not None


def test_the_state_of_a_trainer_has_names_values_and_stages():
    states = []

    class Looks(Callback):
        def on_train_start(self, trainer, pl_module):
            states.append((trainer.state.fn, trainer.state.stage, trainer.state.status))

        on_sanity_check_start = on_validation_start = on_train_start

    runs = trainer(callbacks=Looks())
    assert runs.state.status == "initializing"
    runs.fit(Module(), rows(), plain())
    running = TrainerStatus.RUNNING
    assert states == [
        (TrainerFn.FITTING, RunningStage.SANITY_CHECKING, running),
        (TrainerFn.FITTING, RunningStage.SANITY_CHECKING, running),
        (TrainerFn.FITTING, RunningStage.TRAINING, running),
        (TrainerFn.FITTING, RunningStage.VALIDATING, running),
    ]
    assert runs.state.status == TrainerStatus.FINISHED == "finished"
    assert runs.state.fn == TrainerFn.FITTING == "fit"
    assert [fn.value for fn in TrainerFn] == ["fit", "validate", "test", "predict"]
    stages = ["train", "sanity_check", "validate", "test", "predict"]
    assert [stage.value for stage in RunningStage] == stages
    prefixes = [stage.dataloader_prefix for stage in RunningStage]
    assert prefixes == ["train", "val", "val", "test", "predict"]
    assert f"{TrainerFn.FITTING}" == "fit"


def test_a_permission_error_while_writing_is_an_error(tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder should be")
    runs = trainer()
    runs.fit(Module(), rows(), plain())
    with pytest.raises(OSError, match="taken"):
        runs.save_checkpoint(taken / "model.ckpt")


def test_a_checkpoint_that_cannot_be_written_ends_the_run(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise PermissionError(13, "Permission denied", "model.ckpt")

    saver = pl.callbacks.ModelCheckpoint(dirpath=tmp_path / "kept")
    runs = trainer(callbacks=saver, enable_checkpointing=True)
    monkeypatch.setattr("os.replace", refused)
    monkeypatch.setattr("os.rename", refused)
    monkeypatch.setattr("os.link", refused)
    with pytest.raises(OSError, match="could not be written: Permission denied"):
        runs.fit(Module(), rows(), plain())
    assert runs.interrupted
    assert saver.best_model_path == ""
