"""What every progress bar knows of a run."""

import math

import pytest

import pytorch_lightning as pl
from pytorch_lightning.callbacks.progress import ProgressBar
from pytorch_lightning.loggers import CSVLogger


class Seen(ProgressBar):
    """Notes what a bar can know while a run goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.totals = []
        self.metrics = {}

    def on_train_epoch_start(self, trainer, pl_module):
        self.totals.append(("train", self.total_train_batches, self.total_val_batches))

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.has_dataloader_changed(dataloader_idx):
            stage = "sanity" if trainer.sanity_checking else "val"
            self.totals.append((stage, self.total_val_batches_current_dataloader))

    def on_validation_end(self, trainer, pl_module):
        self.reset_dataloader_idx_tracker()

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if self.has_dataloader_changed(dataloader_idx):
            self.totals.append(("test", self.total_test_batches_current_dataloader))

    def on_train_epoch_end(self, trainer, pl_module):
        self.metrics = self.get_metrics(trainer, pl_module)


def make_trainer(tmp_path, bar, **options):
    return pl.Trainer(
        callbacks=[bar],
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_model_summary=False,
        **{"logger": False, **options},
    )


def test_totals_of_every_stage(tmp_path, model, loader):
    bar = Seen()
    trainer = make_trainer(tmp_path, bar, max_epochs=2, check_val_every_n_epoch=2)
    trainer.fit(model, loader(5), [loader(3), loader(4)])
    trainer.test(model, [loader(6), loader(7)], verbose=False)
    assert bar.totals == [
        ("sanity", 2),
        ("sanity", 2),
        ("train", 5, 0),
        ("train", 5, 7),
        ("val", 3),
        ("val", 4),
        ("test", 6),
        ("test", 7),
    ]


def test_an_own_bar_is_the_bar_of_the_trainer(tmp_path, model, capsys, loader):
    bar = Seen()
    trainer = make_trainer(tmp_path, bar, max_epochs=1)
    assert trainer.progress_bar_callback is bar
    trainer.fit(model, loader(2))
    assert bar.trainer is trainer
    assert capsys.readouterr().out == "hello world\n"


def test_only_what_was_logged_for_the_bar_is_shown(tmp_path, model, loader):
    bar = Seen()
    make_trainer(tmp_path, bar, max_epochs=1).fit(model, loader(3))
    assert list(bar.metrics) == ["train_loss"]
    assert isinstance(bar.metrics["train_loss"], float)


@pytest.mark.parametrize(("version", "shown"), [(7, 7), ("abcdefgh", "efgh"), ("ab", "ab")])
def test_versions_of_the_logger_are_shortened(tmp_path, model, version, shown, loader):
    bar = Seen()
    logger = CSVLogger(tmp_path, version=version)
    make_trainer(tmp_path, bar, max_epochs=1, logger=logger).fit(model, loader(3))
    assert bar.metrics["v_num"] == shown


def test_a_metric_under_the_name_of_the_version_is_told(tmp_path, model, loader):
    model.training_step = lambda batch, batch_idx: (
        model.log("v_num", math.pi, prog_bar=True) or model.layer(batch).mean()
    )
    bar = Seen()
    with pytest.warns(UserWarning, match=r"`self.log\('v_num', ..., prog_bar=True\)`"):
        make_trainer(tmp_path, bar, max_epochs=1, logger=CSVLogger(tmp_path)).fit(model, loader(3))
    assert bar.metrics["v_num"] == pytest.approx(math.pi)


def test_a_bar_without_a_run_has_no_trainer():
    with pytest.raises(TypeError, match="`Seen.trainer` is there once a run has begun"):
        _ = Seen().trainer


def test_descriptions_can_be_overridden(tmp_path, model, terminal, loader):
    from pytorch_lightning.callbacks.progress import TQDMProgressBar

    class Worded(TQDMProgressBar):
        @property
        def test_description(self):
            return "Proving"

    with terminal:
        make_trainer(tmp_path, Worded()).test(model, loader(2), verbose=False)
    assert "Proving DataLoader 0: 100%" in terminal.close()
