import os
import signal
import subprocess
import sys

import pytest
import torch

from pytorch_lightning.checkpoint import upgrade
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


@pytest.mark.faults
@pytest.mark.parametrize("request_to_disk", ["fsync", "replace"])
@pytest.mark.parametrize("before", range(4))
def test_an_upgrade_that_is_killed_leaves_a_whole_file(request_to_disk, before, tmp_path, tally):
    tally("SIGKILL before a request to the file system")
    path = tmp_path / "old.ckpt"
    torch.save(OLD, path)
    child = os.fork()
    if child == 0:
        left, real = [before], getattr(os, request_to_disk)

        def die_or_ask(*args, **options):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return real(*args, **options)

        setattr(os, request_to_disk, die_or_ask)
        upgrade.upgrade_file(path)
        os._exit(0)
    os.waitpid(child, 0)
    kept = [torch.load(p, weights_only=True) for p in tmp_path.iterdir() if p.suffix == ".bak"]
    assert all(one["pytorch-lightning_version"] == "0.9.0" for one in kept)
    now = torch.load(path, weights_only=True)
    assert now["state_dict"]["weight"].tolist() == [1.0, 1.0]
    assert kept or now["pytorch-lightning_version"] == "0.9.0"
