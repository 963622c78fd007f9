"""Loggers of two processes: one version, one writer."""

import csv
import os
from pathlib import Path

import torch
from tests.distributed.ranks import run_ranks
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class Model(pl.LightningModule):
    def __init__(self, size=2):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(size, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).pow(2).mean()
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _fit(loggers, **options):
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        logger=loggers,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(Model(), DataLoader(torch.randn(8, 2), batch_size=1))
    return trainer


def _write(shared):
    rank = int(os.environ["RANK"])
    own = Path(shared, f"of-rank-{rank}")
    if rank == 1:  # a file system on which other versions are taken
        for version in range(3):
            (own / "csv" / f"version_{version}").mkdir(parents=True)
    loggers = [CSVLogger(own, name="csv"), TensorBoardLogger(own, name="events")]
    if rank == 1:
        assert loggers[0].version == 3  # what it finds by itself, before the run
    trainer = _fit(loggers, enable_checkpointing=True)
    return [logger.version for logger in loggers], trainer.checkpoint_callback.best_model_path


def test_versions_are_those_of_the_first_rank_and_only_it_writes(tmp_path):
    first, second = run_ranks(_write, 2, str(tmp_path))
    assert first == second
    assert first[0] == [0, 0]
    own = tmp_path / "of-rank-0" / "csv" / "version_0"
    assert Path(first[1]).parent == own / "checkpoints"
    with (own / "metrics.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["0", "1", "2", "3"]
    assert (own / "hparams.yaml").read_text() == "size: 2\n"
    events = list((tmp_path / "of-rank-0" / "events" / "version_0").glob("*tfevents*"))
    assert len(events) == 1
    written = [path for path in (tmp_path / "of-rank-1").rglob("*") if path.is_file()]
    assert written == []


def _choose_a_version():
    logger = CSVLogger(".", version=f"of-rank-{os.environ['RANK']}")
    trainer = _fit(logger, enable_checkpointing=False)
    return logger.version, trainer.log_dir


def test_a_version_that_differs_between_ranks_becomes_that_of_the_first(tmp_path):
    expected = ("of-rank-0", os.path.join(".", "lightning_logs", "of-rank-0"))
    assert run_ranks(_choose_a_version, 2) == [expected, expected]


class Own(Logger):
    """What a program brings: the four members."""

    name, version = "own", 1

    def __init__(self):
        self.calls = []

    @rank_zero_only
    def log_metrics(self, metrics, step=None):
        self.calls.append((step, sorted(metrics)))

    @rank_zero_only
    def log_hyperparams(self, params, *args, **kwargs):
        self.calls.append(dict(params))


def _own():
    logger = Own()
    _fit(logger, enable_checkpointing=False)
    return logger.calls


def test_a_logger_of_four_members_hears_on_the_first_rank(tmp_path):
    first, second = run_ranks(_own, 2)
    assert first == [{"size": 2}, *((step, ["epoch", "loss"]) for step in range(4))]
    assert second == []
