import dataclasses
import enum
import functools
import os
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from pytorch_lightning.loggers.utilities import (
    RunFolder,
    _scan_checkpoints,
    as_mapping,
    flatten,
    to_plain,
    write_hparams,
)


class Color(enum.Enum):
    RED = 1


class Mode(str, enum.Enum):
    FAST = "fast"


@dataclasses.dataclass
class Settings:
    lr: float = 0.1
    path: Path = Path("data")


def schedule():
    pass


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (True, True),
        (3, 3),
        ("text", "text"),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (Color.RED, "RED"),
        (Mode.FAST, "fast"),
        (Path("a/b"), "a/b"),
        ((1, 2), [1, 2]),
        ({3, 1}, [1, 3]),
        (torch.tensor([1.0, 2.0]), [1.0, 2.0]),
        (torch.float16, "torch.float16"),
        (torch.nn.Linear, "Linear"),
        (schedule, "schedule"),
        (functools.partial(schedule), "schedule"),
        (Namespace(a=1), {"a": 1}),
        (Settings(), {"lr": 0.1, "path": "data"}),
        ({"a": {"b": (Color.RED,)}}, {"a": {"b": ["RED"]}}),
        (torch.nn.ReLU(), "ReLU()"),
    ],
)
def test_to_plain(value, plain):
    result = to_plain(value)
    assert result == plain
    assert type(result) is type(plain)


def test_whatever_is_written_is_read_by_a_safe_loader(tmp_path):
    params = {"fn": schedule, "settings": Settings(), "t": torch.ones(200), 3: None, (1, 2): "x"}
    path = tmp_path / "new" / "hparams.yaml"
    write_hparams(str(path), as_mapping(params))
    loaded = yaml.safe_load(path.read_text())
    assert loaded == to_plain(params)
    assert loaded["fn"] == "schedule"
    assert list(path.parent.iterdir()) == [path]


def test_flatten_joins_keys_and_writes_the_rest_as_text():
    params = to_plain({"a": {"b": {"c": 1}, "d": [1]}, "e": None, "f": True, "g": {}})
    assert flatten(params) == {"a/b/c": 1, "a/d": "[1]", "e": "None", "f": True, "g": "{}"}


def test_hyperparameters_of_another_kind_are_refused():
    with pytest.raises(TypeError, match=r"`params=\[1\]`"):
        as_mapping([1])
    assert as_mapping(None) == {}


def test_next_version_is_one_more_than_the_highest(tmp_path):
    assert RunFolder(tmp_path, "runs").version == 0
    for name in ("version_2", "version_10", "version_x", "other"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    folder = RunFolder(tmp_path, "runs")
    assert folder.version == 11
    (tmp_path / "runs" / "version_11").mkdir()
    assert folder.version == 11


@pytest.mark.parametrize(
    ("name", "version", "log_dir"),
    [
        ("runs", 3, "save/runs/version_3"),
        ("runs", "best", "save/runs/best"),
        ("", 0, "save/version_0"),
        (None, 0, "save/version_0"),
        ("runs", "", "save/runs"),
    ],
)
def test_layout(name, version, log_dir):
    assert RunFolder("save", name, version).log_dir == log_dir


def test_home_and_variables_are_filled_in(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", "/fast")
    assert RunFolder("~/logs", "a", 0).log_dir == f"{tmp_path}/logs/a/version_0"
    assert RunFolder("$SCRATCH", "a", 0).log_dir == "/fast/a/version_0"


def test_versions_are_counted_behind_urls():
    folder = RunFolder("memory://versions-are-counted", "a")
    write_hparams("memory://versions-are-counted/a/version_4/hparams.yaml", {"x": 1})
    assert folder.version == 5


def test_scan_checkpoints_lists_new_and_changed_files(tmp_path):
    paths = [str(tmp_path / f"{name}.ckpt") for name in "abc"]
    for age, path in enumerate(paths):
        Path(path).write_text("x")
        os.utime(path, (1000 + age, 1000 + age))
    callback = SimpleNamespace(
        last_model_path=paths[0],
        current_score=1.0,
        best_model_path=paths[1],
        best_model_score=2.0,
        best_k_models={paths[1]: 2.0, paths[2]: 3.0, str(tmp_path / "gone.ckpt"): 9.0},
    )
    found = _scan_checkpoints(callback, {})
    assert found == [
        (1000.0, paths[0], 1.0, "latest"),
        (1001.0, paths[1], 2.0, "best_k"),
        (1002.0, paths[2], 3.0, "best_k"),
    ]
    logged = {paths[0]: 1000.0, paths[1]: 999.0, paths[2]: 1002.0}
    assert _scan_checkpoints(callback, logged) == [found[1]]
