import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


def read(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(folder):
    events = read(folder)
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def started_sessions(folder):
    content = read(folder).summary_metadata
    data = content.get("_hparams_/session_start_info")
    if data is None:
        return None
    parsed = HParamsPluginData.FromString(data.plugin_data.content)
    return {
        name: getattr(value, value.WhichOneof("kind"))
        for name, value in parsed.session_start_info.hparams.items()
    }


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_nothing_is_made_before_the_first_write(tmp_path):
    logger = TensorBoardLogger(tmp_path / "new")
    assert logger.version == 0
    assert logger.log_dir == str(tmp_path / "new" / "lightning_logs" / "version_0")
    logger.save()
    logger.rewind(3)
    logger.finalize("failed")
    assert not (tmp_path / "new").exists()


def test_layout(tmp_path):
    logger = TensorBoardLogger(tmp_path, name="runs", version="best", sub_dir="a/b")
    logger.log_metrics({"x": 1.0}, step=0)
    logger.save()
    assert logger.log_dir == str(tmp_path / "runs" / "best" / "a" / "b")
    assert logger.root_dir == str(tmp_path / "runs")
    assert (logger.save_dir, logger.name, logger.sub_dir) == (str(tmp_path), "runs", "a/b")
    assert names(logger.log_dir)[-1] == "hparams.yaml"
    assert TensorBoardLogger(tmp_path, name=None, version=2).log_dir == str(tmp_path / "version_2")


def test_metrics_are_read_back(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"a": 0.5, "b": torch.tensor(2.0)}, step=5)
    logger.log_metrics({"a": 0.25}, step=6)
    logger.log_metrics({"c": 1})
    logger.save()
    expected = {"a": [(5, 0.5), (6, 0.25)], "b": [(5, 2.0)], "c": [(0, 1.0)]}
    assert scalars(logger.log_dir) == expected


def test_a_metric_called_step_is_the_x(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"a": 1.0, "step": torch.tensor(7.0)}, step=3)
    logger.save()
    assert scalars(logger.log_dir) == {"a": [(7, 1.0)]}


def test_a_dictionary_becomes_curves_of_one_chart(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"loss": {"train": 1.0, "val": 2.0}}, step=1)
    logger.finalize("success")
    assert scalars(f"{logger.log_dir}/loss_train") == {"loss": [(1, 1.0)]}
    assert scalars(f"{logger.log_dir}/loss_val") == {"loss": [(1, 2.0)]}


def test_what_is_no_number_is_refused_by_name(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    with pytest.raises(ValueError, match=r"'acc': \[1, 2\].*number"):
        logger.log_metrics({"acc": [1, 2]}, step=1)


def test_prefix(tmp_path):
    logger = TensorBoardLogger(tmp_path, prefix="run")
    logger.log_metrics({"a": 1.0}, step=0)
    logger.save()
    assert list(scalars(logger.log_dir)) == ["run-a"]


def test_hyperparameters(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1, "net": {"act": torch.nn.ReLU}, "n": Namespace(q=None)})
    logger.save()
    flat = {"lr": 0.1, "net/act": "ReLU", "n/q": "None"}
    assert started_sessions(logger.log_dir) == flat
    assert scalars(logger.log_dir) == {"hp_metric": [(0, -1.0)]}
    loaded = yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text())
    assert loaded == {"lr": 0.1, "net": {"act": "ReLU"}, "n": {"q": None}}


def test_the_same_hyperparameters_are_recorded_once(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_hyperparams({"lr": 0.1}, {"hp/acc": 0.5})
    for _ in range(3):
        logger.log_hyperparams({"lr": 0.1})
    logger.save()
    assert scalars(logger.log_dir) == {"hp/acc": [(0, 0.5)]}


def test_a_resumed_run_does_not_reset_the_metric(tmp_path):
    for resumed in (False, True):
        logger = TensorBoardLogger(tmp_path, version=0)
        logger.log_hyperparams({"lr": 0.1, "net": {"act": torch.nn.ReLU}})
        logger.log_metrics({"hp_metric": 0.5 + resumed}, step=10 + resumed)
        logger.finalize("success")
    assert scalars(logger.log_dir)["hp_metric"] == [(0, -1.0), (10, 0.5), (11, 1.5)]


def test_other_hyperparameters_in_the_same_folder_are_recorded(tmp_path):
    for rate in (0.1, 0.2):
        logger = TensorBoardLogger(tmp_path, version=0)
        logger.log_hyperparams({"lr": rate})
        logger.finalize("success")
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"lr": 0.2}
    assert scalars(logger.log_dir)["hp_metric"] == [(0, -1.0), (0, -1.0)]


def test_a_file_that_would_run_code_is_not_read(tmp_path):
    logger = TensorBoardLogger(tmp_path, version=0)
    Path(logger.log_dir).mkdir(parents=True)
    Path(logger.log_dir, "hparams.yaml").write_text("a: !!python/object/apply:os.getcwd []")
    logger.log_hyperparams({"lr": 0.1})
    logger.save()
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"lr": 0.1}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"acc": 0.5}, {"acc": [(4, 0.5)]}),
        (0.5, {"hp_metric": [(4, 0.5)]}),
        (None, {}),
    ],
)
def test_hyperparameters_without_the_default_metric(tmp_path, metrics, expected):
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)
    logger.log_hyperparams({"lr": 1}, metrics, step=4)
    logger.log_metrics({"other": 1.0}, step=0)
    logger.save()
    assert scalars(logger.log_dir) == {**expected, "other": [(0, 1.0)]}
    assert yaml.safe_load(Path(logger.log_dir, "hparams.yaml").read_text()) == {"lr": 1}


def test_metrics_after_the_end_go_to_a_second_file(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)
    logger.finalize("success")
    logger.log_metrics({"test": 2.0}, step=1)
    logger.finalize("success")
    assert scalars(logger.log_dir) == {"a": [(0, 1.0)], "test": [(1, 2.0)]}
    assert len([name for name in names(logger.log_dir) if "tfevents" in name]) == 2


@pytest.mark.parametrize("writer_is_open", [True, False])
def test_rewind_purges_the_future(tmp_path, writer_is_open):
    first = TensorBoardLogger(tmp_path, version=0)
    for step in range(10):
        first.log_metrics({"a": float(step), "both": {"x": 1.0}}, step=step)
    first.finalize("failed")
    again = TensorBoardLogger(tmp_path, version=0)
    if writer_is_open:
        again.log_metrics({"a": 99.0}, step=9)
    again.rewind(6)
    for step in range(6, 8):
        again.log_metrics({"a": -1.0, "both": {"x": 2.0}}, step=step)
    again.finalize("success")
    kept = [(step, float(step)) for step in range(6)]
    assert scalars(again.log_dir) == {"a": [*kept, (6, -1.0), (7, -1.0)]}
    chart = scalars(f"{again.log_dir}/both_x")["both"]
    assert chart == [*((step, 1.0) for step in range(6)), (6, 2.0), (7, 2.0)]


def train(logger, steps):
    for step in steps:
        logger.log_metrics({"loss": step / 8, "epoch": step // 4}, step=step)


def validate(logger, step, counts):
    for count in counts:
        logger.log_metrics({"val_step": float(count)}, step=count)
    logger.log_metrics({"val_epoch": 1.0, "epoch": step // 4}, step=step)


def test_rewind_keeps_evaluation_batches_of_the_past(tmp_path):
    """Their x counts evaluation batches, which may be far ahead of the steps."""
    logger = TensorBoardLogger(tmp_path, version=0)
    train(logger, range(4))
    validate(logger, 3, range(20))
    train(logger, range(4, 8))
    validate(logger, 7, range(20, 40))
    for _ in range(2):  # a second time after the first
        logger.rewind(4)
        logger.save()
        expected = [(count, float(count)) for count in range(20)]
        assert scalars(logger.log_dir)["val_step"] == expected
        assert [x for x, _ in scalars(logger.log_dir)["loss"]] == list(range(4))
        train(logger, range(4, 8))
        validate(logger, 7, range(20, 40))
    logger.save()
    assert [x for x, _ in scalars(logger.log_dir)["val_step"]] == list(range(40))


@pytest.mark.parametrize("resumed_at", range(1, 9))
def test_resumed_curves_equal_the_uninterrupted_ones(tmp_path, resumed_at):
    """Killed within the second validation, whose point of resume may lie before or after."""

    def run(logger, start, stop_at=None):
        for step in range(start, 12):
            train(logger, [step])
            if step % 4 == 3:
                counts = range(step // 4 * 3, step // 4 * 3 + 3)
                if step == stop_at:
                    for count in list(counts)[:2]:
                        logger.log_metrics({"val_step": float(count)}, step=count)
                    return logger.save()
                validate(logger, step, counts)
        return logger.save()

    whole = TensorBoardLogger(tmp_path, name="whole")
    run(whole, 0)
    killed = TensorBoardLogger(tmp_path, name="killed", version=0)
    run(killed, 0, stop_at=7)
    again = TensorBoardLogger(tmp_path, name="killed", version=0)
    again.rewind(resumed_at)
    if resumed_at % 4 == 0:  # saved before the validation of that step
        step = resumed_at - 1
        validate(again, step, range(step // 4 * 3, step // 4 * 3 + 3))
    run(again, resumed_at)
    assert scalars(again.log_dir) == scalars(whole.log_dir)


@pytest.mark.filterwarnings("error")
def test_graph(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout())
    model.example_input_array = torch.rand(4, 3)
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    state, before = torch.get_rng_state(), model[1].running_mean.clone()
    logger.log_graph(model)
    logger.finalize("success")
    assert any("Linear[0]" in node.name for node in read(logger.log_dir).Graph().node)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(model[1].running_mean, before)
    assert model.training


def test_graph_without_an_input_warns(tmp_path):
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    with pytest.warns(UserWarning, match="example_input_array"):
        logger.log_graph(torch.nn.Linear(2, 2))


def test_graph_that_cannot_be_traced_warns(tmp_path):
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    with pytest.warns(UserWarning, match="could not be traced"):
        logger.log_graph(torch.nn.Linear(2, 2), torch.rand(1, 5))


def test_graph_is_off_by_default(tmp_path):
    logger = TensorBoardLogger(tmp_path / "new")
    logger.log_graph(torch.nn.Linear(2, 2), torch.rand(1, 2))
    assert not (tmp_path / "new").exists()


def test_other_ranks_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = TensorBoardLogger(tmp_path / "new")
    logger.log_metrics({"a": 1.0}, step=0)
    logger.log_hyperparams({"a": 1})
    logger.experiment.add_text("a", "b")
    logger.finalize("success")
    assert not (tmp_path / "new").exists()


def test_a_pickled_logger_keeps_its_version(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"a": 1.0}, step=0)
    copied = pickle.loads(pickle.dumps(logger))
    copied.log_metrics({"a": 2.0}, step=1)
    copied.finalize("success")
    assert copied.log_dir == logger.log_dir
    assert scalars(logger.log_dir)["a"][-1] == (1, 2.0)


def test_options_reach_the_writer(tmp_path):
    logger = TensorBoardLogger(tmp_path, filename_suffix=".mine")
    logger.log_metrics({"a": 1.0}, step=0)
    assert any(name.endswith(".mine") for name in names(logger.log_dir))


def test_without_tensorboard_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("pytorch_lightning.loggers.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboard"):
        TensorBoardLogger(tmp_path)


def test_importing_the_loggers_does_not_import_tensorboard():
    code = (
        "import sys, pytorch_lightning.loggers as l; l.TensorBoardLogger('x');"
        "assert not {'tensorboard', 'yaml', 'fsspec'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
