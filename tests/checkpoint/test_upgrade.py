import subprocess
import sys

import pytest
import torch

from pytorch_lightning.checkpoint.upgrade import main

OLD = {
    "epoch": 1,
    "global_step": 4,
    "pytorch-lightning_version": "0.9.0",
    "state_dict": {"weight": torch.ones(2)},
    "checkpoint_callback_best_model_score": 0.5,
}


def test_files_of_a_folder_are_upgraded_and_kept(tmp_path, capsys):
    (tmp_path / "deep").mkdir()
    path = tmp_path / "deep" / "old.ckpt"
    torch.save(OLD, path)
    main([str(tmp_path), "--map-to-cpu"])
    assert "upgraded; the original is" in capsys.readouterr().out
    new = torch.load(path, weights_only=True)
    assert new["pytorch-lightning_version"] == "2.6.6"
    assert "checkpoint_callback_best_model_score" not in new
    assert new["state_dict"]["weight"].tolist() == [1.0, 1.0]
    kept = torch.load(tmp_path / "deep" / "old.ckpt.bak", weights_only=True)
    assert kept["pytorch-lightning_version"] == "0.9.0"


def test_the_documented_command_works(tmp_path):
    path = tmp_path / "old.ckpt"
    torch.save(OLD, path)
    command = [sys.executable, "-m", "pytorch_lightning.utilities.upgrade_checkpoint", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    assert torch.load(path, weights_only=True)["pytorch-lightning_version"] == "2.6.6"


@pytest.mark.parametrize("name", ["missing.ckpt", "empty"])
def test_nothing_to_do_is_said(name, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path / name)])
    assert caught.value.code == 2
    assert name in capsys.readouterr().err
