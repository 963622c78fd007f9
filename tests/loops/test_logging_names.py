"""Under which names a logged value is found, where, and when."""

import pytest
import torch
from tests.loops.logging_runs import Plain, fitted, numbers, plain, trainer

from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Both(Plain):
    """Logs in every way in training and evaluation, and keeps what was to be seen in each hook."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def training_step(self, batch, batch_idx):
        self.log("step", float(batch_idx))
        self.log("epoch_only", batch.mean(), on_step=False, on_epoch=True)
        self.log("both", batch.mean(), on_epoch=True, prog_bar=True)
        self.log("hidden", 1.0, logger=False)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self.log("v", batch.mean())
        self.log("v_both", batch.mean(), on_step=True, prog_bar=True)
        self.log("v_step_only", batch.mean(), on_step=True, on_epoch=False)

    def look(self, hook):
        metrics = self.trainer
        self.seen.setdefault(hook, []).append(
            tuple(
                plain(found)
                for found in (
                    metrics.callback_metrics,
                    metrics.logged_metrics,
                    metrics.progress_bar_metrics,
                )
            )
        )

    def on_train_batch_end(self, *_):
        self.look("batch")

    def on_train_epoch_end(self):
        self.look("epoch")

    def on_validation_batch_end(self, *_):
        self.look("validation batch")

    def on_validation_epoch_end(self):
        self.look("validation epoch")


TRAINED = {"step": 2.0, "epoch_only": 2.0, "both_step": 4.0, "both_epoch": 2.0, "hidden": 1.0}
VALIDATED = {"v": 1.0, "v_both": 1.0, "v_both_epoch": 1.0, "v_step_only": 2.0}


@pytest.fixture
def seen():
    module = Both()
    module.run = fitted(module, numbers(5), numbers(3), log_every_n_steps=50)
    return module


def test_while_training_every_value_can_be_read_so_far(seen):
    assert [row[0] for row in seen.seen["batch"][:2]] == [
        {
            "step": 0,
            "epoch_only": 0.5,
            "both": 0.5,
            "both_step": 0.5,
            "both_epoch": 0.5,
            "hidden": 1,
        },
        {
            "step": 1,
            "epoch_only": 1.5,
            "both": 2.5,
            "both_step": 2.5,
            "both_epoch": 1.5,
            "hidden": 1,
        },
    ]


def test_loggers_and_bar_see_steps_by_their_suffix(seen):
    _, logged, bar = seen.seen["batch"][1]
    assert logged == {"step": 1.0, "both_step": 2.5}  # also where it is not yet time to write
    assert bar == {"both_step": 2.5}


def test_at_the_end_of_an_epoch_a_name_stands_for_the_epoch(seen):
    callback, logged, bar = seen.seen["epoch"][0]
    assert callback == {**TRAINED, "both": 2.0, **VALIDATED}
    assert logged == {
        "step": 2.0,
        "epoch_only": 2.0,
        "both_step": 4.0,
        "both_epoch": 2.0,
        "v": 1.0,
        "v_both_step": 2.0,
        "v_both_epoch": 1.0,
        "v_step_only": 2.0,
    }
    assert bar == {"both_step": 4.0, "both_epoch": 2.0, "v_both_step": 2.0, "v_both_epoch": 1.0}


def test_in_a_validation(seen):
    callback, logged, bar = seen.seen["validation batch"][0]
    assert (callback["v"], callback["both"], callback["epoch_only"]) == (0.5, 4.0, 2.0)
    assert "v_both_step" not in callback
    assert (logged["v_both_step"], bar["v_both_step"]) == (0.5, 0.5)
    assert "v" not in logged  # not before the end
    callback, logged, bar = seen.seen["validation epoch"][0]
    assert {name: callback[name] for name in VALIDATED} == VALIDATED
    assert (logged["v"], logged["v_both_epoch"], bar["v_both_epoch"]) == (1.0, 1.0, 1.0)


def test_after_the_run_they_are_kept_on_the_cpu_until_the_next(seen):
    run = seen.run
    assert plain(run.callback_metrics) == seen.seen["epoch"][0][0]
    assert plain(run.logged_metrics) == seen.seen["epoch"][0][1]
    assert plain(run.progress_bar_metrics) == seen.seen["epoch"][0][2]
    assert all(isinstance(v, torch.Tensor) for v in run.callback_metrics.values())
    assert all(v.device.type == "cpu" for v in run.callback_metrics.values())
    assert all(type(v) is float for v in run.progress_bar_metrics.values())
    run.validate(seen, numbers(3), verbose=False)
    assert plain(run.callback_metrics) == VALIDATED


def test_values_are_those_of_their_epoch_and_nothing_is_left_of_the_last():
    class Once(Plain):
        def training_step(self, batch, batch_idx):
            if self.current_epoch == 0:
                self.log("x", 1.0, on_epoch=True)
            return super().training_step(batch, batch_idx)

    assert fitted(Once(), numbers(4), max_epochs=3).logger.of("x_epoch") == [(1, 1.0)]


def test_without_loggers_the_same_is_to_be_read():
    made = fitted(Both(), numbers(5), numbers(3), logger=False)
    assert plain(made.logged_metrics)["both_epoch"] == 2.0


def test_one_name_from_two_hooks():
    class Two(Plain):
        def training_step(self, batch, batch_idx):
            self.log("x", 1.0, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def on_train_batch_end(self, *_):
            self.log("x", 3.0)

        def on_train_epoch_end(self):
            self.log("x", 5.0)

    made = fitted(Two(), numbers(4))
    assert made.logger.rows == [
        (0, {"x": 3.0, "x_step": 1.0, "epoch": 0}),
        (1, {"x": 3.0, "x_step": 1.0, "epoch": 0}),
        (1, {"x": 5.0, "x_epoch": 1.0, "epoch": 0}),
    ]
    assert plain(made.callback_metrics) == {"x": 5.0, "x_step": 1.0, "x_epoch": 1.0}


def test_one_name_from_training_and_validation():
    class Two(Plain):
        def training_step(self, batch, batch_idx):
            self.log("loss", 1.0, on_step=False, on_epoch=True)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            self.log("loss", 3.0)

    assert fitted(Two(), numbers(4), numbers(4)).logger.of("loss") == [(1, 3.0), (1, 1.0)]


def test_one_name_from_the_module_and_a_callback_in_one_hook_is_one_value():
    import pytorch_lightning as pl

    class Callback(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            pl_module.log("x", 1.0)

    class Module(Plain):
        def on_train_epoch_end(self):
            self.log("x", 3.0)

    assert plain(fitted(Module(), numbers(4), callbacks=[Callback()]).callback_metrics) == {
        "x": 2.0
    }


# --- several loaders --------------------------------------------------------------------------


class Several(Plain):
    """Logs per loader."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self.log("a", batch.mean())
        self.log("both", batch.mean(), on_step=True, prog_bar=True)
        self.log("hidden", 1.0, logger=False)
        self.log(f"own_{dataloader_idx}", batch.mean(), add_dataloader_idx=False)

    def on_validation_epoch_end(self):
        self.log("whole", 9.0)

    test_step, on_test_epoch_end = validation_step, on_validation_epoch_end


@pytest.mark.parametrize("entry", ["validate", "test"])
def test_several_loaders(entry):
    made = trainer()
    results = getattr(made, entry)(Several(), [numbers(4), numbers(3)], verbose=False)
    assert results == [
        {
            "a/dataloader_idx_0": 1.5,
            "both_epoch/dataloader_idx_0": 1.5,
            "own_0": 1.5,
            "whole": 9.0,
        },
        {
            "a/dataloader_idx_1": 1.0,
            "both_epoch/dataloader_idx_1": 1.0,
            "own_1": 1.0,
            "whole": 9.0,
        },
    ]
    assert all(type(value) is float for row in results for value in row.values())
    found = made.callback_metrics
    assert found["both/dataloader_idx_0"] == found["both_epoch/dataloader_idx_0"] == 1.5
    assert found["hidden/dataloader_idx_1"] == 1.0
    assert "hidden/dataloader_idx_1" not in made.logged_metrics
    assert made.logger.of("both_step/dataloader_idx_1") == [(0, 0.5), (1, 2.0)]


def test_one_loader_has_no_suffix_and_still_a_list():
    for loaders in (numbers(4), [numbers(4)]):
        assert trainer().test(Several(), loaders, verbose=False) == [
            {"a": 1.5, "both_epoch": 1.5, "own_0": 1.5, "whole": 9.0}
        ]


def test_nothing_logged_gives_an_empty_result():
    class Silent(Plain):
        def test_step(self, batch, batch_idx):
            return None

    assert trainer().test(Silent(), numbers(4), verbose=False) == [{}]


def test_the_suffix_is_not_for_the_user():
    class Own(Plain):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.log(f"a/dataloader_idx_{dataloader_idx}", 1.0, add_dataloader_idx=self.adds)

    module = Own()
    module.adds = False
    results = trainer().validate(module, [numbers(4), numbers(4)], verbose=False)
    assert results == [{"a/dataloader_idx_0": 1.0}, {"a/dataloader_idx_1": 1.0}]
    module.adds = True
    with pytest.raises(MisconfigurationException, match="dataloader_idx"):
        trainer().validate(module, [numbers(4), numbers(4)], verbose=False)


def test_a_monitor_may_name_the_value_of_one_loader():
    from pytorch_lightning.callbacks import EarlyStopping

    stop = EarlyStopping("both_epoch/dataloader_idx_1", patience=0)
    made = fitted(Several(), numbers(4), [numbers(4), numbers(3)], max_epochs=5, callbacks=[stop])
    assert made.current_epoch == 2


@pytest.mark.parametrize("monitor", ["both", "both_epoch", "both_step"])
def test_a_monitor_may_name_any_form_of_a_training_value(monitor):
    from pytorch_lightning.callbacks import EarlyStopping

    class Watched(EarlyStopping):
        def on_train_epoch_end(self, trainer, pl_module):
            super().on_train_epoch_end(trainer, pl_module)
            scores.append(float(self.best_score))

    scores = []
    callback = Watched(monitor, check_on_train_epoch_end=True)
    fitted(Both(), numbers(5), callbacks=[callback])
    assert scores == [4.0 if monitor == "both_step" else 2.0]


def test_the_sanity_check_leaves_no_trace():
    seen = []

    class Checked(Plain):
        def validation_step(self, batch, batch_idx):
            self.log("v", batch.mean() + 100, on_step=True, on_epoch=True, prog_bar=True)

        def on_train_start(self):
            seen.append(
                (
                    dict(self.trainer.callback_metrics),
                    dict(self.trainer.logged_metrics),
                    self.trainer.progress_bar_metrics,
                    list(self.trainer.logger.rows),
                )
            )

    made = fitted(Checked(), numbers(4), numbers(4), num_sanity_val_steps=2)
    assert seen == [({}, {}, {}, [])]
    assert made.logger.of("v_step") == [(0, 100.5), (1, 102.5)]


def test_log_dict_hands_every_argument_on():
    class Logs(Plain):
        def training_step(self, batch, batch_idx):
            self.log_dict(
                {"a": float(batch_idx), "b": -float(batch_idx)},
                prog_bar=True,
                logger=False,
                on_step=False,
                on_epoch=True,
                reduce_fx="max",
            )
            return super().training_step(batch, batch_idx)

    made = fitted(Logs(), numbers(6))
    assert plain(made.callback_metrics) == made.progress_bar_metrics == {"a": 2.0, "b": 0.0}
    assert made.logger.rows == []
