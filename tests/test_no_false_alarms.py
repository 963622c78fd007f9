"""Programs that are fine stay silent; those that are odd but documented get one warning."""

import warnings

import pytest
import torch
from tests.mistakes.case import Module, Rows, plain, rows, seen, spoiled, trainer
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.warnings import PossibleUserWarning


def fit_in_silence(module, **options):
    """Train; every warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(**options).fit(module, val_dataloaders=plain())


class OfALibrary:
    """A mixin of somebody else, who calls its methods."""

    def notify(self):
        self.on_training_epoch_end()

    def on_training_epoch_end(self):
        """Has the name of no hook, and is called above."""


class OfAnotherLibrary(Callback):
    """Has events of its own, which it calls from hooks."""

    def on_train_epoch_end(self, trainer, pl_module):
        self.on_epoch_done(trainer.current_epoch)
        self.on_improvement()

    def on_epoch_done(self, epoch):
        seen.done = epoch

    def on_improvement(self):
        pass


def _method(self, *args):
    """Called by nobody here."""


@pytest.mark.parametrize(
    "name",
    [
        *("on_click", "on_message", "on_gpu_ready", "on_checkpoint", "on_step", "on_begin"),
        *("on_data", "on_train_log", "on_new_best", "once_trained", "online", "on_save"),
        *("train_epoch_end", "validate_batch", "setup_model", "training_steps", "log_epoch"),
    ],
)
def test_methods_of_ones_own_are_no_mistakes(name):
    fit_in_silence(spoiled(**{name: _method}))


def test_a_callback_with_events_of_its_own_is_no_mistake():
    fit_in_silence(Module(), callbacks=OfAnotherLibrary())
    assert seen.done == 0


def test_a_name_like_a_hook_that_its_class_calls_is_one_warning():
    class Own(Module):
        def training_step(self, batch, batch_idx):
            self.on_training_epoch_end()
            return super().training_step(batch, batch_idx)

        def on_training_epoch_end(self):
            pass

    with pytest.warns(PossibleUserWarning, match="did you mean `on_train_epoch_end`") as caught:
        trainer().fit(Own(), val_dataloaders=plain())
        trainer().fit(Own(), val_dataloaders=plain())
    assert len([w for w in caught if "on_training_epoch_end" in str(w.message)]) == 1


def test_a_mixin_that_calls_its_own_method_is_one_warning_at_most():
    class Mixed(OfALibrary, Module):
        pass

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer().fit(Mixed(), val_dataloaders=plain())
    assert [w for w in caught if "on_training_epoch_end" not in str(w.message)] == []
    assert len(caught) <= 1


def test_an_override_of_a_librarys_event_is_no_mistake():
    class Mine(OfAnotherLibrary):
        def on_epoch_done(self, epoch):
            seen.done = epoch

    fit_in_silence(Module(), callbacks=Mine())


@pytest.mark.parametrize(
    "hook",
    ["on_epoch_end", "on_batch_end", "on_pretrain_routine_start", "on_train_start", "on_init_end"],
)
def test_hooks_of_any_release_are_no_mistakes(hook):
    callback = type("Old", (Callback,), {hook: _method})()
    fit_in_silence(Module(), callbacks=callback)


def test_attributes_that_are_no_methods_are_no_mistakes():
    class Flags(Module):
        on_training_epoch_end = None
        on_gpus = True

    fit_in_silence(Flags())


def test_a_run_of_every_entry_point_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runs = trainer(max_epochs=2)
        module = Module()
        runs.fit(module, rows(), plain())
        runs.validate(module, plain())
        runs.test(module, plain())
        runs.predict(module, plain())


# --- odd but documented -------------------------------------------------------------------------


def test_a_validation_loader_without_a_validation_step_is_a_warning():
    module = spoiled(validation_step=None)
    with pytest.warns(PossibleUserWarning, match="`Model` has no `validation_step`"):
        trainer().fit(module, val_dataloaders=plain())
    assert module.trainer.current_epoch == 1


def test_a_validation_step_without_a_loader_is_a_warning():
    module = Module()
    with pytest.warns(PossibleUserWarning, match="val_dataloaders="):
        trainer().fit(module)
    assert module.trainer.current_epoch == 1


def test_an_empty_training_loader_is_a_warning():
    runs = trainer()
    with pytest.warns(PossibleUserWarning, match="no batch.*data set, batch size"):
        runs.fit(Module(), DataLoader(Rows(1), batch_size=2, drop_last=True), plain())
    assert runs.global_step == 0


def test_a_share_of_an_empty_loader_is_the_same_warning():
    runs = trainer(limit_train_batches=0.5)
    with pytest.warns(PossibleUserWarning, match="no batch"):
        runs.fit(Module(), DataLoader(Rows(0), batch_size=2), plain())


@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_an_empty_evaluation_loader_is_a_warning(verb):
    runs = trainer()
    with pytest.warns(PossibleUserWarning, match="no batch"):
        getattr(runs, verb)(Module(), DataLoader(Rows(0), batch_size=2))


def test_no_optimizer_is_a_warning():
    module = spoiled(configure_optimizers=lambda self: None)
    before = module.layer.weight.clone()
    with pytest.warns(UserWarning, match="no optimizer"):
        trainer().fit(module, val_dataloaders=plain())
    assert torch.equal(module.layer.weight, before)


def test_unknown_keys_of_schedulers_and_optimizers_are_warnings():
    def configure(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        config = {"scheduler": scheduler, "intervall": "step"}
        return {"optimizer": optimizer, "lr_scheduler": config, "lr_schedular": None}

    with pytest.warns() as caught:
        trainer().fit(spoiled(configure_optimizers=configure), val_dataloaders=plain())
    said = " ".join(str(w.message) for w in caught)
    assert "Did you mean 'interval'?" in said
    assert "Did you mean 'lr_scheduler'?" in said


def test_a_plateau_that_is_not_strict_only_warns():
    def configure(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        config = {"scheduler": scheduler, "monitor": "val_los", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}

    with pytest.warns(RuntimeWarning, match="Did you mean 'val_loss'"):
        trainer().fit(spoiled(configure_optimizers=configure), val_dataloaders=plain())


def test_a_monitor_waits_for_its_first_turn():
    class Late(Module):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.layer(batch).mean())

    stopper = pl.callbacks.EarlyStopping("val_loss")
    fit_in_silence(Late(), callbacks=stopper, num_sanity_val_steps=0, max_epochs=2)
    checkpoint = pl.callbacks.ModelCheckpoint(monitor="val_loss", every_n_train_steps=1)
    fit_in_silence(Late(), callbacks=checkpoint, enable_checkpointing=True)
    assert checkpoint.best_model_path


def test_a_skipped_batch_is_one_warning():
    with pytest.warns(UserWarning, match="returned None") as caught:
        trainer().fit(spoiled(training_step=lambda self, batch: None), val_dataloaders=plain())
    assert len([w for w in caught if "returned None" in str(w.message)]) == 1


def test_logging_without_a_trainer_is_a_warning():
    with pytest.warns(UserWarning, match="no `Trainer` is attached"):
        Module().log("x", 1.0)


def test_logging_between_runs_is_an_error():
    module = Module()
    trainer().fit(module, val_dataloaders=plain())
    with pytest.raises(MisconfigurationException, match="outside the hooks"):
        module.log("x", 1.0)


def test_barebones_says_once_that_it_logs_nothing():
    options = {"barebones": True, "max_epochs": 1, "accelerator": "cpu"}
    with pytest.warns(UserWarning, match="barebones=True") as caught:
        pl.Trainer(**options).fit(Module(), val_dataloaders=plain())
    assert len([w for w in caught if "self.log()" in str(w.message)]) == 1
