"""Hyper-parameters in YAML and CSV files."""

import argparse
import enum

import pytest
import torch
import yaml

from pytorch_lightning.core.hparams_files import (
    load_hparams_from_tags_csv,
    load_hparams_from_yaml,
    save_hparams_to_tags_csv,
    save_hparams_to_yaml,
)

PLAIN = {"a": 7, "b": 8.5, "s": "hello", "yes": "yes", "l": [1, {"k": None}], "t": True}


class Color(enum.Enum):
    RED = 1


def test_yaml_round_trip(tmp_path):
    save_hparams_to_yaml(tmp_path / "h.yaml", PLAIN)
    assert load_hparams_from_yaml(tmp_path / "h.yaml") == PLAIN
    save_hparams_to_yaml(str(tmp_path / "h.yaml"), argparse.Namespace(a=1), use_omegaconf=False)
    assert load_hparams_from_yaml(str(tmp_path / "h.yaml"), use_omegaconf=False) == {"a": 1}


def test_yaml_is_safe_whatever_the_values_are(tmp_path):
    path = tmp_path / "h.yaml"
    values = {"net": torch.nn.Linear(1, 1), "f": len, "path": tmp_path, "c": Color.RED, "x": 1}
    save_hparams_to_yaml(path, values)
    assert "!!python" not in path.read_text()
    found = yaml.safe_load(path.read_text())
    assert found["x"] == 1
    assert found["c"] == "RED"
    assert found["path"] == str(tmp_path)


def test_objects_in_a_yaml_file_are_not_made(tmp_path):
    path = tmp_path / "h.yaml"
    target = tmp_path / "touched"
    path.write_text(
        f"t: !!python/tuple [1, 2]\n"
        f"evil: !!python/object/apply:os.system ['touch {target}']\n"
        "name: !!python/name:os.system ''\n"
        "object: !!python/object:torch.nn.Linear {bias: true}\n"
    )
    found = load_hparams_from_yaml(path)
    assert found["t"] == (1, 2)
    assert found["object"] == {"bias": True}
    assert found["evil"] == [f"touch {target}"]
    assert found["name"] == ""
    assert not target.exists()


def test_csv_round_trip(tmp_path):
    values = {"a": 7, "b": 8.5, "s": "hello, you", "l": [1, 2], "t": True}
    save_hparams_to_tags_csv(tmp_path / "h.csv", values)
    assert (tmp_path / "h.csv").read_text().splitlines()[:2] == ["key,value", "a,7"]
    assert load_hparams_from_tags_csv(tmp_path / "h.csv") == values


@pytest.mark.parametrize("load", [load_hparams_from_yaml, load_hparams_from_tags_csv])
def test_a_missing_file_gives_nothing_and_a_warning(load, tmp_path):
    with pytest.warns(RuntimeWarning, match="no hyper-parameter file"):
        assert load(tmp_path / "none") == {}


@pytest.mark.parametrize("save", [save_hparams_to_yaml, save_hparams_to_tags_csv])
def test_bad_input_to_save(save, tmp_path):
    with pytest.raises(RuntimeError, match="Missing folder"):
        save(tmp_path / "nowhere" / "h", {})
    with pytest.raises(TypeError, match="pass a dict"):
        save(tmp_path / "h", [1])


def test_an_empty_yaml_file(tmp_path):
    (tmp_path / "h.yaml").write_text("")
    assert load_hparams_from_yaml(tmp_path / "h.yaml") == {}
