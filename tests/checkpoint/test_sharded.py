"""What of checkpoints in parts one process alone can show; the rest is in tests/distributed."""

import os

import pytest
import torch

from pytorch_lightning.checkpoint.atomic import place_folder, remove_leftovers, reserved_folder
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.sharded import Party, is_sharded, read_any, save_sharded
from pytorch_lightning.utilities.exceptions import CheckpointError


def test_a_checkpoint_without_divided_tensors_comes_back_too(tmp_path):
    state = {"epoch": 3, "state_dict": {"w": torch.arange(3.0)}, "pair": (1, [torch.ones(2)])}
    save_sharded(state, tmp_path / "parts", Party())
    assert is_sharded(tmp_path / "parts") and not is_sharded(tmp_path)
    found = read_any(tmp_path / "parts")
    assert found["epoch"] == 3 and found["pair"][0] == 1
    assert found["state_dict"]["w"].tolist() == [0.0, 1.0, 2.0]
    assert "sharded_checkpoint" not in found


def test_one_file_takes_the_place_of_a_folder_and_the_other_way_round(tmp_path):
    place = tmp_path / "last.ckpt"
    for _ in range(2):
        save_sharded({"epoch": 1}, place, Party())
        assert place.is_dir() and read_any(place)["epoch"] == 1
        TorchCheckpointIO().save_checkpoint({"epoch": 2}, place)
        assert place.is_file() and read_any(place)["epoch"] == 2
    assert os.listdir(tmp_path) == ["last.ckpt"]


def test_a_folder_that_cannot_be_written_leaves_the_one_before(tmp_path):
    save_sharded({"epoch": 1}, tmp_path / "parts", Party())
    with pytest.raises(CheckpointError, match="function"):
        save_sharded({"epoch": 2, "code": len}, tmp_path / "parts", Party())
    assert read_any(tmp_path / "parts")["epoch"] == 1
    assert os.listdir(tmp_path) == ["parts"]


def test_folders_of_dead_writers_are_removed(tmp_path):
    with reserved_folder(str(tmp_path)) as mine:
        os.mkdir(mine)
        assert remove_leftovers(str(tmp_path)) == []  # it is being written
    assert remove_leftovers(str(tmp_path)) == [os.path.basename(mine)]
    assert os.listdir(tmp_path) == []


def test_a_folder_moves_over_a_full_one(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    place_folder(str(tmp_path / "new"), str(tmp_path / "old"))
    assert os.listdir(tmp_path) == ["old"] and os.listdir(tmp_path / "old") == ["new"]
