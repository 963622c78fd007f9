"""What `LambdaCallback` promises."""

import inspect

import pytest

from pytorch_lightning.callbacks.lambda_function import LambdaCallback
from pytorch_lightning.core.callback import Callback
from pytorch_lightning.core.hooks import is_overridden_hook


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
