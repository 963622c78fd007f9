from collections import OrderedDict

import torch

from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.peek import read_value


def test_a_value_is_read_beside_tensors(tmp_path):
    path = tmp_path / "x.ckpt"
    weights = OrderedDict(a=torch.ones(3), b=torch.nn.Parameter(torch.ones(2)))
    TorchCheckpointIO().save_checkpoint({"state_dict": weights, "job": "7_1", "step": 3}, path)
    assert read_value(str(path), "job") == "7_1"
    assert read_value(str(path), "step") == 3
    assert read_value(str(path), "other") is None


def test_a_file_of_torch_itself(tmp_path):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": torch.nn.Linear(2, 2).state_dict(), "job": "7"}, path)
    assert read_value(str(path), "job") == "7"


def test_what_is_no_checkpoint_has_no_value(tmp_path):
    (tmp_path / "text").write_text("text")
    torch.save([1], tmp_path / "list")
    for name in ("text", "list", "missing", "."):
        assert read_value(str(tmp_path / name), "job") is None
