import copy
import pickle

import pytest

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import (
    DummyExperiment,
    DummyLogger,
    merge_dicts,
    rank_zero_experiment,
)
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ListLogger(Logger):
    def __init__(self):
        self.rows = []
        self.saved = 0

    @property
    def name(self):
        return "list"

    @property
    def version(self):
        return 1

    @property
    @rank_zero_experiment
    def experiment(self):
        return self.rows

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, metrics))

    def log_hyperparams(self, params, *args, **kwargs):
        self.rows.append(params)

    def save(self):
        self.saved += 1


def test_four_members_make_a_logger():
    logger = ListLogger()
    logger.log_metrics({"a": 1.0}, step=2)
    logger.log_graph(None)
    logger.after_save_checkpoint(None)
    logger.rewind(1)
    logger.finalize("success")
    assert logger.experiment == [(2, {"a": 1.0})]
    assert logger.saved == 1
    assert (logger.save_dir, logger.root_dir, logger.log_dir) == (None, None, None)
    assert logger.group_separator == "/"


@pytest.mark.parametrize("missing", ["name", "version", "log_metrics", "log_hyperparams"])
def test_each_of_the_four_is_needed(missing):
    members = {name: None for name in ("name", "version", "log_metrics", "log_hyperparams")}
    del members[missing]
    with pytest.raises(TypeError, match=missing):
        type("Part", (Logger,), members)()


def test_other_ranks_get_an_experiment_that_swallows_calls(monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    experiment = ListLogger().experiment
    assert isinstance(experiment, DummyExperiment)
    assert experiment.add_image("x", 1, global_step=2) is None
    assert experiment["metrics/loss"].append(3) is None
    experiment["key"] = 1


def test_dummy_logger_takes_everything():
    logger = DummyLogger()
    logger.log_metrics({"a": 1.0}, step=3)
    logger.log_hyperparams({"lr": 1}, {"hp": 2})
    logger.experiment.add_figure("a", None)
    logger.watch(None, log="all")
    logger.finalize("success")
    assert logger[0] is logger
    assert list(logger) == [logger]
    assert (logger.name, logger.version, logger.log_dir) == ("", "", None)


def test_dummy_logger_is_copied_and_pickled():
    assert isinstance(copy.deepcopy(DummyLogger()), DummyLogger)
    assert isinstance(pickle.loads(pickle.dumps(DummyLogger())), DummyLogger)


def test_merge_dicts_takes_means_of_what_is_there():
    dicts = [{"a": 1, "b": 2, "d": {"x": 3}}, {"a": 2, "c": 3, "d": {"x": 5}}]
    assert merge_dicts(dicts) == {"a": 1.5, "b": 2, "c": 3, "d": {"x": 4}}


def test_merge_dicts_uses_functions_by_key():
    dicts = [{"a": 1, "b": 2, "d": {"x": 3, "y": 1}}, {"a": 2, "b": 4, "d": {"x": 5, "y": 2}}]
    merged = merge_dicts(dicts, {"a": max, "d": {"x": min}}, sum)
    assert merged == {"a": 2, "b": 6, "d": {"x": 3, "y": 3}}
