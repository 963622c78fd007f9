"""What users count on when values are logged, and when a module is evaluated or predicts."""

import os

import pytest
import torch
from tests.small_runs import Memory, Small, loader, rows, trainer
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class Numbers(Small):
    """Logs the given value of each validation batch; training logs under two names at once."""

    def __init__(self, **options):
        super().__init__()
        self.options = options

    def training_step(self, batch, batch_idx):
        self.log("loss", float(batch_idx), **self.options)
        return self.loss(batch)


# --- the sanity check ---------------------------------------------------------------------------


def test_the_sanity_check_leaves_no_trace():
    class Drawing(Small):
        def validation_step(self, batch, batch_idx):
            torch.rand(7)
            self.log("val_loss", 1.0)

        def on_train_start(self):
            self.at_start = (dict(self.trainer.callback_metrics), torch.rand(1).item())

    starts = []
    for sanity in (0, 2):
        module, logger = Drawing(), Memory()
        torch.manual_seed(3)
        trainer(num_sanity_val_steps=sanity, logger=logger).fit(module)
        starts.append(module.at_start)
        assert len(logger.points("val_loss")) == 1
    assert starts[0] == starts[1]
    assert starts[1][0] == {}


def test_a_resumed_run_has_no_sanity_check(tmp_path):
    class Counting(Callback):
        checks = 0

        def on_sanity_check_start(self, trainer, pl_module):
            self.checks += 1

    counting = Counting()
    first = trainer(num_sanity_val_steps=1, callbacks=[counting])
    first.fit(Small())
    assert counting.checks == 1
    first.save_checkpoint(tmp_path / "x.ckpt")
    trainer(num_sanity_val_steps=1, max_epochs=2, callbacks=[counting]).fit(
        Small(), ckpt_path=tmp_path / "x.ckpt"
    )
    assert counting.checks == 1


# --- names and values ---------------------------------------------------------------------------


def test_training_logs_on_steps_and_validation_on_epochs():
    class Both(Numbers):
        def validation_step(self, batch, batch_idx):
            self.log("val", float(batch_idx))

    logger = Memory()
    trainer(logger=logger, log_every_n_steps=1).fit(Both())
    assert logger.points("loss") == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert logger.points("val") == [(3, 0.5)]


def test_a_forked_metric_has_three_names_for_monitors():
    class Reading(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.step = {name: value.item() for name, value in trainer.callback_metrics.items()}

    reading, logger = Reading(), Memory()
    of = trainer(callbacks=[reading], logger=logger, log_every_n_steps=1)
    of.fit(Numbers(on_step=True, on_epoch=True), val_dataloaders=[])
    assert set(reading.step) == {"loss", "loss_step", "loss_epoch"}
    assert reading.step["loss_step"] == reading.step["loss"] == 3.0
    values = {name: value.item() for name, value in of.callback_metrics.items()}
    assert values == {"loss": 1.5, "loss_step": 3.0, "loss_epoch": 1.5}
    assert "loss" not in {name for values, _ in logger.of("metrics") for name in values}


@pytest.mark.parametrize("monitor", ["loss", "loss_epoch", "loss_step"])
def test_each_of_them_can_be_monitored(tmp_path, monitor):
    callback = ModelCheckpoint(tmp_path, monitor=monitor, mode="max")
    trainer(callbacks=[callback, EarlyStopping(monitor)]).fit(
        Numbers(on_step=True, on_epoch=True), val_dataloaders=[]
    )
    assert callback.best_model_score == (3.0 if monitor == "loss_step" else 1.5)


def test_loaders_have_names_of_their_own():
    class Several(Small):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.log("val", float(dataloader_idx))
            self.log("plain", 1.0, add_dataloader_idx=False)

        def val_dataloader(self):
            return [loader(2), loader(4)]

    class Once(Several):
        def validation_step(self, batch, batch_idx, dataloader_idx):
            self.log("val", float(dataloader_idx))

    of = trainer(callbacks=[ModelCheckpoint("x", monitor="val/dataloader_idx_1")])
    of.fit(Once())
    values = {name: value.item() for name, value in of.callback_metrics.items()}
    assert values == {"val/dataloader_idx_0": 0.0, "val/dataloader_idx_1": 1.0}
    assert of.checkpoint_callback.best_model_score == 1.0
    with pytest.raises(MisconfigurationException, match="val/dataloader_idx_0"):
        trainer(callbacks=[ModelCheckpoint("y", monitor="val")]).fit(Once())


def test_a_smaller_batch_counts_less():
    class Sized(Small):
        def validation_step(self, batch, batch_idx):
            self.log("mean", batch[0].mean())

    data = torch.arange(20.0).reshape(5, 4)
    batches = DataLoader(TensorDataset(data), batch_size=2)
    (result,) = trainer().validate(Sized(), batches, verbose=False)
    assert result["mean"] == pytest.approx(data.mean().item())


def test_the_weight_may_be_given():
    class Weighted(Small):
        def validation_step(self, batch, batch_idx):
            self.log("given", float(batch_idx), batch_size=3 if batch_idx else 1)

    (result,) = trainer().validate(Weighted(), loader(4), verbose=False)
    assert result["given"] == 0.75


def test_the_first_tensor_is_the_guess_where_no_loader_collated():
    class Guessed(Small):
        def validation_step(self, batch, batch_idx):
            self.log("guess", float(batch_idx))

    batches = [{"ids": torch.zeros(1, 2), "x": rows(9)}, {"ids": torch.zeros(3, 2), "x": rows(1)}]
    (result,) = trainer().validate(Guessed(), batches, verbose=False)
    assert result["guess"] == 0.75


@pytest.mark.parametrize(
    "value", ["text", None, [1.0], (1.0,), torch.ones(2), object()], ids=lambda v: type(v).__name__
)
def test_what_is_no_number_cannot_be_logged(value):
    class Bad(Small):
        def training_step(self, batch, batch_idx):
            self.log("bad", value)
            return self.loss(batch)

    with pytest.raises(ValueError, match="bad"):
        trainer().fit(Bad())


def test_numbers_become_floats():
    class Mixed(Small):
        def training_step(self, batch, batch_idx):
            self.log_dict({"int": 3, "bool": True, "half": torch.tensor(0.5).half()})
            return self.loss(batch)

    of = trainer()
    of.fit(Mixed(), val_dataloaders=[])
    assert {name: value.item() for name, value in of.callback_metrics.items()} == {
        "int": 3.0,
        "bool": 1.0,
        "half": 0.5,
    }


def test_logging_outside_of_a_trainer_only_warns():
    module = Small()
    with pytest.warns(UserWarning, match="Trainer"):
        module.log("a", 1.0)
    with pytest.raises(RuntimeError, match="trainer"):
        module.trainer  # noqa: B018


# --- evaluation and prediction ------------------------------------------------------------------


def test_results_are_a_list_and_printed_unless_told_otherwise(capsys):
    of, module = trainer(), Small()
    assert [set(result) for result in of.validate(module)] == [{"val_loss"}]
    assert "val_loss" in capsys.readouterr().out
    assert [set(result) for result in of.test(module, verbose=False)] == [{"test_loss"}]
    assert capsys.readouterr().out == ""


def test_values_that_loggers_do_not_get_are_missing():
    class Quiet(Small):
        def validation_step(self, batch, batch_idx):
            self.log("seen", 1.0)
            self.log("hidden", 2.0, logger=False)

    of = trainer()
    assert of.validate(Quiet(), verbose=False) == [{"seen": 1.0}]
    assert of.callback_metrics["hidden"] == 2.0


def test_one_result_per_loader():
    class Several(Small):
        def test_step(self, batch, batch_idx, dataloader_idx):
            self.log("number", float(dataloader_idx))

    found = trainer().test(Several(), [loader(2), loader(2)], verbose=False)
    assert found == [{"number/dataloader_idx_0": 0.0}, {"number/dataloader_idx_1": 1.0}]


def test_nothing_to_do_gives_nothing():
    of, module = trainer(limit_test_batches=0, limit_predict_batches=0), Small()
    assert of.test(module) == []
    assert of.predict(module) is None


def test_predictions_are_a_flat_list_or_one_per_loader():
    class Several(Small):
        def predict_step(self, batch, batch_idx, dataloader_idx=0):
            return self(batch[0])

    module, of = Several(), trainer()
    found = of.predict(module, loader(4))
    assert [tuple(batch.shape) for batch in found] == [(2, 1), (2, 1)]
    nested = of.predict(module, [loader(4), loader(2)])
    assert [len(batches) for batches in nested] == [2, 1]
    assert torch.equal(nested[0][1], found[1])
    assert all(batch.device.type == "cpu" for batch in found)


def test_the_default_step_gives_the_whole_batch_to_forward():
    class Plain(pl.LightningModule):
        def forward(self, batch):
            return len(batch)

    batches = DataLoader(TensorDataset(rows(4), rows(4), rows(4)), batch_size=2)
    assert trainer().predict(Plain(), batches) == [3, 3]


def test_prediction_drops_nothing_and_keeps_the_order():
    class Echo(pl.LightningModule):
        def forward(self, batch):
            return batch[0].flatten().tolist()

    data = TensorDataset(torch.arange(5))
    of = trainer()
    assert of.predict(Echo(), DataLoader(data, 2, drop_last=True)) == [[0, 1], [2, 3], [4]]
    chosen = DataLoader(data, 2, sampler=[4, 0, 3])
    assert of.predict(Echo(), chosen) == [[4, 0], [3]]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_a_datamodule_may_come_second(verb):
    class Data(pl.LightningDataModule):
        asked = 0

        def train_dataloader(self):
            type(self).asked += 1
            return loader(2)

        val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    getattr(trainer(), verb)(Small(), Data())
    assert Data.asked >= 1


def test_loaders_are_not_remembered_but_a_datamodule_is():
    class Bare(pl.LightningModule):
        test_step = Small.test_step
        loss, forward = Small.loss, Small.forward
        training_step, configure_optimizers = Small.training_step, Small.configure_optimizers

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 1)

    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            return loader(2)

        test_dataloader = train_dataloader

    module, of = Bare(), trainer()
    of.fit(module, loader(4))
    with pytest.raises(MisconfigurationException, match="dataloaders="):
        of.test(module)
    of.fit_loop.max_epochs = 2
    of.fit(module, datamodule=Data())
    assert of.test(module, verbose=False)[0].keys() == {"test_loss"}


def test_a_module_s_own_loaders_serve_every_stage():
    module, of = Small(), trainer()
    of.fit(module)
    assert len(of.test(verbose=False, model=module)) == 1


def test_gradients_are_off_but_inference_mode_is_for_evaluation_alone():
    seen = []

    class Seeing(Small):
        def validation_step(self, batch, batch_idx):
            seen.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

    module, of = Seeing(), trainer(limit_val_batches=1)
    of.fit(module)
    of.validate(module, verbose=False)
    trainer(limit_val_batches=1, inference_mode=False).validate(module, verbose=False)
    assert seen == [(False, False), (False, True), (False, False)]


def test_a_step_without_its_loader_is_told_and_skipped():
    class Half(Small):
        val_dataloader = pl.LightningModule.val_dataloader

        def validation_step(self, batch, batch_idx):
            raise AssertionError

    with pytest.warns(UserWarning, match="validation_step"):
        trainer().fit(Half())


def test_a_validation_after_fit_changes_no_count_and_is_logged_at_the_last_step():
    logger, module = Memory(), Small()
    of = trainer(logger=logger, max_epochs=2)
    of.fit(module)
    before = (of.current_epoch, of.global_step)
    of.validate(module, verbose=False)
    assert (of.current_epoch, of.global_step) == before == (2, 8)
    assert [x for x, _ in logger.points("val_loss")] == [3, 7, 8]


# --- the best checkpoint ------------------------------------------------------------------------


class Growing(Small):
    """Its weights are those of the epoch; the first is the best."""

    def on_train_epoch_end(self):
        with torch.no_grad():
            self.layer.weight.fill_(float(self.trainer.current_epoch))
        self.log("score", float(self.trainer.current_epoch))

    def test_step(self, batch, batch_idx):
        self.log("weight", self.layer.weight[0, 0])


def test_without_a_model_the_best_is_tested_with_one_its_weights_are():
    module = Growing()
    of = trainer(max_epochs=3, callbacks=[ModelCheckpoint("x", monitor="score")])
    of.fit(module)
    assert of.test(module, verbose=False) == [{"weight": 2.0}]
    with pytest.warns(UserWarning, match="best"):
        assert of.test(verbose=False) == [{"weight": 0.0}]
    assert of.test(module, ckpt_path="best", verbose=False) == [{"weight": 0.0}]


def test_the_best_is_that_of_the_first_callback():
    best_first = ModelCheckpoint("x", monitor="score")
    worst = ModelCheckpoint("y", monitor="score", mode="max")
    module = Growing()
    of = trainer(max_epochs=3, callbacks=[worst, best_first])
    of.fit(module)
    with pytest.warns(UserWarning, match="first"):
        assert of.test(module, ckpt_path="best", verbose=False) == [{"weight": 2.0}]


def test_no_best_is_an_error():
    of = trainer()
    of.fit(Small())
    with pytest.raises(ValueError, match="'best'"):
        of.test(ckpt_path="best")


def test_last_is_the_newest_file_or_a_fresh_start(tmp_path):
    with pytest.warns(UserWarning, match="from scratch"):
        of = trainer(callbacks=[ModelCheckpoint(tmp_path)])
        of.fit(Small(), ckpt_path="last")
    assert of.global_step == 4
    for name, age in (("last", 100), ("last-v1", 50)):
        of.save_checkpoint(tmp_path / f"{name}.ckpt")
        stamp = os.stat(tmp_path / f"{name}.ckpt").st_mtime - age
        os.utime(tmp_path / f"{name}.ckpt", (stamp, stamp))
    more = trainer(max_epochs=2, callbacks=[ModelCheckpoint(tmp_path)])
    seen = []
    more.strategy.load_checkpoint = _spy(more.strategy.load_checkpoint, seen)
    more.fit(Small(), ckpt_path="last")
    assert [os.path.basename(path) for path in seen] == ["last-v1.ckpt"]
    assert more.global_step == 8


def _spy(function, seen):
    def call(path, *args, **kwargs):
        seen.append(path)
        return function(path, *args, **kwargs)

    return call
