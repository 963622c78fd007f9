"""Where `self.log` may be called, and what its defaults are there."""

import warnings

import pytest
import torch
from tests.loops.logging_runs import Plain, fitted, numbers, trainer

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

TRAIN_STEP = [
    "on_train_batch_start",
    "optimizer_step",
    "training_step",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "configure_gradient_clipping",
    "clip_gradients",
    "on_train_batch_end",
]
EVAL_STEP = [
    f"on_{stage}_batch_{moment}" for stage in ("validation", "test") for moment in ("start", "end")
] + ["validation_step", "test_step"]
EPOCH = ["on_train_start", "on_validation_start", "on_test_start"] + [
    f"on_{stage}_epoch_{moment}"
    for stage in ("train", "validation", "test")
    for moment in ("start", "end")
]
SAVING = ["on_save_checkpoint", "state_dict"]
REFUSED = [
    *SAVING,
    "prepare_data",
    "setup",
    "teardown",
    "configure_callbacks",
    "configure_model",
    "configure_optimizers",
    "train_dataloader",
    "val_dataloader",
    "test_dataloader",
    "predict_dataloader",
    "on_fit_start",
    "on_fit_end",
    "on_train_end",
    "on_validation_end",
    "on_test_end",
    "on_before_batch_transfer",
    "transfer_batch_to_device",
    "on_after_batch_transfer",
    "lr_scheduler_step",
    "on_validation_model_zero_grad",
    *(f"on_{stage}_model_eval" for stage in ("validation", "test", "predict")),
    *(f"on_{stage}_model_train" for stage in ("validation", "test")),
    *(f"on_predict_{moment}" for moment in ("start", "epoch_start", "epoch_end", "end")),
    *(f"on_predict_batch_{moment}" for moment in ("start", "end")),
    "predict_step",
]


class Everything(Plain):
    """Every loader and step there is."""

    def validation_step(self, batch, batch_idx):
        return batch.sum()

    test_step = validation_step

    def predict_step(self, batch, batch_idx):
        return batch

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

    def train_dataloader(self):
        return numbers(4)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    def backward(self, loss):
        loss.backward()

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.step(optimizer_closure)


def logging_in(hook, **flags):
    """A module whose hook logs 'x', then does what it always did."""
    usual = getattr(Everything, hook)
    steps = {"training_step", "validation_step", "test_step", "predict_step"}

    def logs(self, *args, **kwargs):
        self.log("x", 1.0, **flags)
        return usual(self, *args, **kwargs)

    def step(self, batch, batch_idx):
        return logs(self, batch, batch_idx)

    def backward(self, loss):
        return logs(self, loss)

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        return logs(self, epoch, batch_idx, optimizer, optimizer_closure)

    own = {"backward": backward, "optimizer_step": optimizer_step}
    method = step if hook in steps else own.get(hook, logs)
    return type("Logging", (Everything,), {hook: method})()


class Saves(pl.Callback):
    """Saves in a hook that may log."""

    def on_train_batch_end(self, trainer, *args):
        trainer.save_checkpoint("a.ckpt")


def run(hook, **flags):
    """Fit, test or predict, whichever comes by the hook; what loggers saw of 'x'."""
    module = logging_in(hook, **flags)
    made = trainer(gradient_clip_val=1.0, callbacks=[Saves()] if hook in SAVING else [])
    if "test" in hook:
        made.test(module, verbose=False)
    elif "predict" in hook:
        made.predict(module)
    else:
        made.fit(module)
    return {
        name: len(made.logger.of(name))
        for name in ("x", "x_step", "x_epoch")
        if made.logger.of(name)
    }


@pytest.mark.parametrize("hook", TRAIN_STEP)
def test_in_hooks_of_a_training_batch_the_step_is_logged_by_default(hook):
    assert run(hook) == {"x": 2}


@pytest.mark.parametrize("hook", ["training_step", "on_train_batch_start", "on_after_backward"])
def test_in_hooks_of_a_training_batch_the_epoch_may_be_logged(hook):
    assert run(hook, on_epoch=True) == {"x_step": 2, "x_epoch": 1}


@pytest.mark.parametrize("hook", EVAL_STEP)
def test_in_hooks_of_an_evaluation_batch_the_epoch_is_logged_by_default(hook):
    assert run(hook) == {"x": 1}
    assert run(hook, on_step=True) == {"x_step": 2, "x_epoch": 1}


@pytest.mark.parametrize("hook", EPOCH)
def test_in_hooks_of_an_epoch_only_the_epoch_is_logged(hook):
    assert run(hook) == {"x": 1}
    with pytest.raises(MisconfigurationException, match="on_step=True"):
        run(hook, on_step=True)


@pytest.mark.parametrize("hook", REFUSED)
def test_other_hooks_do_not_log(hook):
    with pytest.raises(MisconfigurationException, match="cannot be called"):
        run(hook)


def test_logging_neither_step_nor_epoch_is_refused():
    with pytest.raises(MisconfigurationException, match="would log nothing"):
        run("training_step", on_step=False)


def test_outside_of_a_run():
    module = Plain()
    with pytest.warns(UserWarning, match="no `Trainer` is attached"):
        module.log("x", 1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.log_dict({"x": 1.0})  # said once
    fitted(module, numbers(4))
    with pytest.raises(MisconfigurationException, match="outside the hooks"):
        module.log("x", 1.0)


def test_callbacks_log_as_the_module_does():
    class Logs(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            self.log("a", 1.0)
            self.log_dict({"b": 2.0, "c": 3.0}, on_epoch=True)
            pl_module.log("d", 4.0)

        def on_validation_epoch_end(self, trainer, pl_module):
            self.log("e", 5.0)

    callback = Logs()
    logger = fitted(Everything(), callbacks=[callback]).logger
    assert logger.rows[0] == (0, {"a": 1.0, "b_step": 2.0, "c_step": 3.0, "d": 4.0, "epoch": 0})
    assert logger.of("b_epoch") == [(1, 2.0)]
    assert logger.of("e") == [(1, 5.0)]
    assert not hasattr(callback, "log")  # it belongs to the run


def test_barebones_logs_nothing_and_says_so_once():
    class Logs(Plain):
        def training_step(self, batch, batch_idx):
            self.log("x", 1.0)
            self.log_dict({"y": 1.0})
            return super().training_step(batch, batch_idx)

    module = Logs()
    made = pl.Trainer(barebones=True, max_epochs=1)
    with pytest.warns(UserWarning, match="barebones") as said:
        made.fit(module, numbers(8))
    assert sum("self.log" in str(warning.message) for warning in said) == 1
    assert made.callback_metrics == made.logged_metrics == {}


def test_an_epoch_hook_needs_no_batch_size():
    class Raw(Everything):
        def train_dataloader(self):
            return [[[1.0], [2.0]]] * 2  # no tensor in a batch

        def training_step(self, batch, batch_idx):
            return self.layer(torch.tensor(batch)).sum()

        def on_train_epoch_end(self):
            self.log("x", 1.0)
            self.log("x", 3.0)

    assert fitted(Raw(), limit_val_batches=0).logger.of("x") == [(1, 2.0)]
