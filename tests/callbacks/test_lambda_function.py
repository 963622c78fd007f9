"""What `LambdaCallback` promises."""

import inspect

import pytest

import pytorch_lightning as pl
from pytorch_lightning.callbacks.lambda_function import LambdaCallback
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import is_overridden_hook
from pytorch_lightning.demos.boring_classes import BoringModel


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


def test_functions_become_hooks():
    said = []
    callback = LambdaCallback(on_fit_start=lambda trainer, module: said.append((trainer, module)))
    assert is_overridden_hook(callback, "on_fit_start")
    assert not is_overridden_hook(callback, "on_fit_end")
    callback.on_fit_start(1, 2)
    assert said == [(1, 2)]


def test_every_hook_of_callbacks_can_be_a_function():
    hooks = {name for name in vars(Callback) if name.startswith("on_")} | {"setup", "teardown"}
    assert set(inspect.signature(LambdaCallback).parameters) == hooks


def test_misspelled_hook():
    with pytest.raises(TypeError, match="Did you mean 'on_train_epoch_end'"):
        LambdaCallback(on_training_epoch_end=print)
    with pytest.raises(TypeError, match="state_dict"):
        LambdaCallback(state_dict=dict)
    with pytest.raises(TypeError, match="on_fit_start=3"):
        LambdaCallback(on_fit_start=3)


def test_functions_are_called_in_a_run():
    said = []

    def note(name):
        return lambda trainer, module, *rest, **named: said.append(name)

    names = ("setup", "on_train_start", "on_train_batch_end", "on_train_end", "teardown")
    callback = LambdaCallback(**{name: note(name) for name in names})
    trainer_with(callback, max_epochs=1, limit_train_batches=2).fit(BoringModel())
    assert said == [
        "setup",
        "on_train_start",
        "on_train_batch_end",
        "on_train_batch_end",
        "on_train_end",
        "teardown",
    ]
