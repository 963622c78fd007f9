import csv
import pickle
from pathlib import Path

import fsspec
import pytest
import torch
import yaml
from tests.small_runs import Small, trainer

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities.rank_zero import rank_zero_only


def table(logger):
    with open(f"{logger.log_dir}/metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def column(logger, name):
    return [row[name] for row in table(logger)]


def test_nothing_is_made_before_the_first_write(tmp_path):
    logger = CSVLogger(tmp_path / "new")
    assert logger.version == 0
    assert logger.experiment is logger.experiment
    logger.save()
    logger.rewind(3)
    logger.finalize("failed")
    assert not (tmp_path / "new").exists()


def test_rows_and_sorted_columns(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"b": 1.0, "a": torch.tensor(2.5)}, step=0)
    logger.log_metrics({"c": float("nan")}, step=3)
    logger.save()
    lines = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    assert lines == ["a,b,c,step", "2.5,1.0,,0", ",,nan,3"]


def test_floats_are_written_exactly(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 0.1 + 0.2}, step=0)
    logger.save()
    assert float(column(logger, "a")[0]) == 0.1 + 0.2


def test_a_metric_called_step_is_the_x(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_metrics({"a": 1.0, "step": 7.0}, step=3)
    logger.save()
    assert column(logger, "step") == ["7"]


def test_without_a_step_rows_are_counted(tmp_path):
    for _ in range(2):
        logger = CSVLogger(tmp_path, version=0)
        logger.log_metrics({"a": 1.0})
        logger.log_metrics({"a": 2.0})
        logger.finalize("success")
    assert column(logger, "step") == ["0", "1", "2", "3"]


def test_columns_that_appear_later_lose_no_row(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    for step in range(20):
        logger.log_metrics({f"m{step}": float(step), "all": 1.0}, step=step)
    rows = table(logger)
    assert [row[f"m{step}"] for step, row in enumerate(rows)] == [f"{s}.0" for s in range(20)]
    assert all(row["all"] == "1.0" for row in rows)
    assert list(rows[0]) == sorted(rows[0])


def test_rows_are_appended_while_no_column_appears(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=1)
    logger.log_metrics({"a": 1.0}, step=0)
    path = tmp_path / "lightning_logs" / "version_0" / "metrics.csv"
    before, text = path.stat().st_ino, path.read_text()
    for step in range(1, 50):
        logger.log_metrics({"a": 1.0}, step=step)
    assert path.stat().st_ino == before  # a file that is written anew is another one
    assert path.read_text().startswith(text)
    assert len(table(logger)) == 50


def test_flush_every_n_steps(tmp_path):
    logger = CSVLogger(tmp_path, flush_logs_every_n_steps=10)
    seen = []
    for step in range(0, 30, 3):
        logger.log_metrics({"a": float(step)}, step=step)
        seen.append(len(table(logger)))
    assert seen == [1, 1, 1, 1, 5, 5, 5, 5, 9, 9]
    logger.save()
    assert len(table(logger)) == 10


@pytest.mark.parametrize("steps", [0, -1])
def test_flush_must_be_positive(tmp_path, steps):
    with pytest.raises(ValueError, match=f"`flush_logs_every_n_steps={steps}`"):
        CSVLogger(tmp_path, flush_logs_every_n_steps=steps)


def test_memory_does_not_grow_with_the_rows(tmp_path):
    logger = CSVLogger(tmp_path)
    for step in range(1000):
        logger.log_metrics({"a": 1.0}, step=step)
        assert len(logger.experiment.metrics) <= 100


def test_a_new_object_of_the_same_version_goes_on(tmp_path):
    first = CSVLogger(tmp_path)
    first.log_metrics({"a": 1.0}, step=0)
    first.log_hyperparams({"lr": 0.1})
    first.finalize("failed")
    second = CSVLogger(tmp_path, version=first.version)
    second.log_metrics({"a": 2.0, "b": 3.0}, step=1)
    second.finalize("success")
    assert column(second, "a") == ["1.0", "2.0"]
    assert CSVLogger(tmp_path).version == 1


def test_a_torn_row_is_dropped(tmp_path):
    logger = CSVLogger(tmp_path, version=0)
    logger.log_metrics({"a": 1.0}, step=0)
    logger.save()
    with open(f"{logger.log_dir}/metrics.csv", "a") as file:
        file.write("2.5")
    again = CSVLogger(tmp_path, version=0)
    again.log_metrics({"a": 3.0}, step=1)
    again.save()
    assert column(again, "a") == ["1.0", "3.0"]


def test_hparams(tmp_path):
    logger = CSVLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": {"act": torch.nn.ReLU}})
    logger.log_hyperparams({"seed": 1})
    logger.save()
    path = tmp_path / "lightning_logs" / "version_0" / "hparams.yaml"
    loaded = {"lr": 0.1, "net": {"act": "ReLU"}, "seed": 1}
    assert yaml.safe_load(path.read_text()) == loaded
    before = path.stat().st_ino
    logger.log_hyperparams({"lr": 0.1})
    logger.save()
    assert path.stat().st_ino == before
    assert [item.name for item in path.parent.iterdir()] == ["hparams.yaml"]


def test_prefix(tmp_path):
    logger = CSVLogger(tmp_path, prefix="run")
    logger.log_metrics({"a": 1.0}, step=0)
    logger.save()
    assert list(table(logger)[0]) == ["run-a", "step"]


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = CSVLogger(tmp_path / "new")
    logger.log_metrics({"a": 1.0}, step=0)
    logger.log_hyperparams({"a": 1})
    logger.finalize("success")
    assert not (tmp_path / "new").exists()


def test_a_pickled_logger_writes_each_row_once(tmp_path):
    logger = CSVLogger(tmp_path)
    for step in range(3):
        logger.log_metrics({"a": 1.0}, step=step)
    copied = pickle.loads(pickle.dumps(logger))
    copied.log_metrics({"a": 1.0}, step=3)
    copied.save()
    logger.save()
    assert column(copied, "step") == ["0", "1", "2", "3"]


def test_urls():
    logger = CSVLogger("memory://csv-urls", flush_logs_every_n_steps=1)
    for step in range(3):
        logger.log_metrics({f"m{step}": 1.0}, step=step)
    again = CSVLogger("memory://csv-urls", version=0)
    again.log_metrics({"m0": 2.0}, step=3)
    again.save()
    with fsspec.open("memory://csv-urls/lightning_logs/version_0/metrics.csv", "rt") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert CSVLogger("memory://csv-urls").version == 1


def train_rows(logger, steps):
    for step in steps:
        logger.log_metrics({"loss": step / 10, "epoch": step // 4}, step=step)


def validation_rows(logger, step, counts):
    for count in counts:
        logger.log_metrics({"val_step": 1.0}, step=count)
    logger.log_metrics({"val_epoch": 1.0, "epoch": step // 4}, step=step)


def test_rewind_drops_the_future(tmp_path):
    logger = CSVLogger(tmp_path, version=0)
    train_rows(logger, range(10))
    logger.finalize("failed")
    again = CSVLogger(tmp_path, version=0)
    again.rewind(6)
    assert column(again, "step") == [str(step) for step in range(6)]
    train_rows(again, range(6, 8))
    again.save()
    assert column(again, "step") == [str(step) for step in range(8)]


def test_rewind_of_rows_without_epochs(tmp_path):
    writer = ExperimentWriter(str(tmp_path))
    for step in range(5):
        writer.log_metrics({"a": 1.0}, step)
    writer.rewind(2)
    assert (tmp_path / "metrics.csv").read_text() == "a,step\n1.0,0\n1.0,1\n"


def test_rewind_keeps_rows_of_evaluation_batches_of_the_past(tmp_path):
    """Their x counts evaluation batches, which may be far ahead of the steps."""
    logger = CSVLogger(tmp_path, version=0)
    train_rows(logger, range(4))
    validation_rows(logger, 3, range(20))
    train_rows(logger, range(4, 8))
    validation_rows(logger, 7, range(20, 40))
    logger.rewind(4)
    kept = [row["step"] for row in table(logger) if row["val_step"]]
    assert kept == [str(count) for count in range(20)]
    assert column(logger, "step")[-1] == "3"


@pytest.mark.parametrize("resumed_at", range(1, 9))
def test_a_resumed_file_equals_the_uninterrupted_one(tmp_path, resumed_at):
    """Killed within the second validation, whose point of resume may lie before or after."""

    def run(logger, start, stop_at=None):
        for step in range(start, 12):
            train_rows(logger, [step])
            if step % 4 == 3:
                counts = range(step // 4 * 3, step // 4 * 3 + 3)
                if step == stop_at:
                    for count in list(counts)[:2]:
                        logger.log_metrics({"val_step": 1.0}, step=count)
                    logger.save()
                    return
                validation_rows(logger, step, counts)
        logger.save()

    whole = CSVLogger(tmp_path, name="whole")
    run(whole, 0)
    killed = CSVLogger(tmp_path, name="killed", version=0)
    run(killed, 0, stop_at=7)
    again = CSVLogger(tmp_path, name="killed", version=0)
    again.rewind(resumed_at)
    if resumed_at % 4 == 0:  # saved before the validation of that step
        step = resumed_at - 1
        validation_rows(again, step, range(step // 4 * 3, step // 4 * 3 + 3))
    run(again, resumed_at)
    assert table(again) == table(whole)


@pytest.mark.parametrize(("every", "lines"), [(1, [2, 3, 4, 5]), (3, [2, 2, 2, 5])])
def test_a_run_writes_as_often_as_the_logger_was_told(tmp_path, every, lines):
    logger, seen = CSVLogger(tmp_path, flush_logs_every_n_steps=every), []

    class Looking(Small):
        def training_step(self, batch, batch_idx):
            self.log("loss", 1.0)
            return self.loss(batch)

        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx:
                seen.append(self.lines())

        def on_train_epoch_end(self):
            seen.append(self.lines())

        def lines(self):
            return len(Path(logger.log_dir, "metrics.csv").read_text().splitlines())

    of = trainer(logger=logger, log_every_n_steps=1, limit_val_batches=0)
    of.fit(Looking())
    assert seen == lines
    assert len(table(logger)) == 4
