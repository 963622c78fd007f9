"""What reaches the loggers of a trainer, and when."""

import os
from pathlib import Path

import pytest
import torch
from tests.small_runs import Memory, Small, trainer

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger


class Named(Small):
    """A module with hyperparameters."""

    def __init__(self, width=3, activation=torch.relu):
        super().__init__()
        self.save_hyperparameters()


class Logging(Small):
    """Logs its loss on steps and epochs."""

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss


def test_every_logger_gets_every_call_and_the_first_is_the_trainer_s():
    loggers = [Memory(), Memory()]
    of = trainer(logger=loggers, log_every_n_steps=1)
    of.fit(Logging())
    assert of.logger is loggers[0]
    assert of.loggers == loggers
    assert loggers[0].calls == loggers[1].calls
    assert len(loggers[0].of("metrics")) == 6  # four steps, an epoch, a validation


def test_files_go_where_the_first_logger_says(tmp_path):
    loggers = [Memory(str(tmp_path / "a"), "n", "v"), Memory(str(tmp_path / "b"))]
    of = trainer(logger=loggers, callbacks=[ModelCheckpoint()])
    of.fit(Small())
    folder = tmp_path / "a" / "n" / "v" / "checkpoints"
    assert os.listdir(folder) == ["epoch=0-step=4.ckpt"]
    assert not (tmp_path / "b").exists()


def test_hyperparameters_and_graph_come_once_and_before_any_metric():
    logger = Memory()
    of = trainer(logger=logger)
    module = Named()
    for verb in (of.fit, of.validate, of.test):
        verb(module)
    of.predict(module)
    assert [call[0] for call in logger.calls][:2] == ["hyperparams", "graph"]
    assert len(logger.of("hyperparams")) == len(logger.of("graph")) == 1
    assert logger.of("hyperparams")[0][0]["width"] == 3


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_hyperparameters_come_in_every_entry_point(verb):
    logger = Memory()
    getattr(trainer(logger=logger), verb)(Named(width=5))
    assert logger.of("hyperparams")[0][0]["width"] == 5
    assert logger.of("graph") == [("Named",)]


def test_those_of_module_and_datamodule_come_together():
    class Data(pl.LightningDataModule):
        def __init__(self, size=2):
            super().__init__()
            self.save_hyperparameters()
            self.train_dataloader = Small().train_dataloader

    logger = Memory()
    trainer(logger=logger, limit_val_batches=0).fit(Named(), datamodule=Data())
    assert logger.of("hyperparams") == [({"width": 3, "activation": torch.relu, "size": 2},)]


def test_they_can_be_switched_off():
    logger = Memory()
    trainer(logger=logger, enable_autolog_hparams=False).fit(Named())
    assert logger.of("hyperparams") == logger.of("graph") == []


def test_hyperparameters_are_written_as_names_and_text(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    trainer(logger=logger).fit(Named())
    text = Path(logger.log_dir, "hparams.yaml").read_text()
    assert text.splitlines() == ["width: 3", "activation: relu"]


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_the_end_of_a_run_is_told(verb):
    logger = Memory()
    getattr(trainer(logger=logger), verb)(Small())
    assert logger.of("finalize") == [("success",)]
    assert logger.calls[-1] == ("finalize", "success")


def test_a_failed_run_is_told_and_nothing_else():
    class Failing(Small):
        def training_step(self, batch, batch_idx):
            raise ValueError("no")

    logger = Memory()
    with pytest.raises(ValueError, match="no"):
        trainer(logger=logger).fit(Failing())
    assert logger.of("finalize") == [("failed",)]
    assert logger.of("metrics") == []


def test_step_values_come_every_n_steps_and_not_before():
    logger = Memory()
    trainer(logger=logger, log_every_n_steps=3).fit(Logging())
    assert [x for x, _ in logger.points("loss_step")] == [2]
    assert [x for x, _ in logger.points("loss_epoch")] == [3]


def test_a_run_too_short_for_a_single_value_is_told():
    logger = Memory()
    with pytest.warns(UserWarning, match="log_every_n_steps=50"):
        trainer(logger=logger).fit(Logging())
    assert logger.points("loss_step") == []


def test_a_dictionary_of_values_becomes_one_chart(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"both": {"a": 1.0, "b": 2.0}}, step=0)
    logger.finalize("success")
    assert sorted(p.name for p in Path(logger.log_dir).iterdir() if p.is_dir()) == [
        "both_a",
        "both_b",
    ]


def test_an_unused_trainer_leaves_nothing(tmp_path):
    of = pl.Trainer(default_root_dir=tmp_path)
    assert isinstance(of.logger, TensorBoardLogger)
    assert os.listdir(tmp_path) == []


def test_the_version_is_fixed_when_it_is_first_asked_for(tmp_path):
    first, second = CSVLogger(tmp_path), CSVLogger(tmp_path)
    assert (first.version, second.version) == (0, 0)  # nothing was written yet
    first.log_metrics({"a": 1.0}, step=0)
    first.save()
    assert second.version == 0
    assert CSVLogger(tmp_path).version == 1


def test_default_folders(tmp_path):
    of = trainer(logger=None, callbacks=[ModelCheckpoint()], default_root_dir=tmp_path)
    of.fit(Small())
    folder = tmp_path / "lightning_logs" / "version_0"
    assert (folder / "checkpoints" / "epoch=0-step=4.ckpt").is_file()
    assert any(name.startswith("events.out.tfevents") for name in os.listdir(folder))
    assert of.log_dir == str(folder)
    of = trainer(callbacks=[ModelCheckpoint()], default_root_dir=tmp_path)
    of.fit(Small())
    assert (tmp_path / "checkpoints" / "epoch=0-step=4.ckpt").is_file()


def test_a_second_run_gets_the_next_version(tmp_path):
    for version in (0, 1):
        of = trainer(logger=None, default_root_dir=tmp_path)
        of.fit(Small())
        assert of.log_dir == str(tmp_path / "lightning_logs" / f"version_{version}")


def test_a_logger_that_knows_four_methods_only_serves_a_whole_run():
    class Least(pl.loggers.Logger):
        name, version = "least", 0

        def __init__(self):
            self.seen = []

        def log_metrics(self, metrics, step=None):
            self.seen.append(step)

        def log_hyperparams(self, params, *args, **kwargs):
            self.seen.append("hyperparams")

    logger = Least()
    trainer(logger=logger, log_every_n_steps=1, callbacks=[ModelCheckpoint("x")]).fit(Logging())
    assert logger.seen == [0, 1, 2, 3, 3, 3]


def test_loggers_hear_of_checkpoints_after_the_file_exists(tmp_path):
    logger = Memory()
    callback = ModelCheckpoint(tmp_path)
    trainer(logger=logger, callbacks=[callback]).fit(Small())
    assert logger.of("saved") == [(callback.best_model_path,)]
    assert os.path.isfile(callback.best_model_path)
