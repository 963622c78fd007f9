import warnings

import pytest
import torch

pytest.importorskip("gymnasium")
pytest.importorskip("matplotlib")

from examples.dqn import main
from examples.run_all import result_of


def test_a_run_goes_on_with_its_buffer(tmp_path, capsys):
    run = ["--episodes", "2", "--out", "run"]
    assert main(["--steps", "500", *run]) == 0
    learned, random = result_of("dqn", capsys.readouterr().out)
    assert learned > 0 and random > 0
    assert (tmp_path / "run" / "episode.png").stat().st_size > 1000

    (tmp_path / "run" / "last.ckpt").rename("half.ckpt")
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        assert main(["--resume", "half.ckpt", "--steps", "1000", *run]) == 0
    assert not [warning for warning in given if "place in" in str(warning.message).lower()]
    before = torch.load("half.ckpt", weights_only=True)
    after = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert (before["count"], after["count"]) == (1500, 2000)  # it did not start to fill again
    for early, late in zip(before["columns"], after["columns"], strict=True):
        assert torch.equal(early[:1500], late[:1500])
    assert after["columns"][0][1500:2000].any()

    assert main(["--steps", "1000", "--episodes", "1", "--out", "whole"]) == 0
    whole = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=True)
    for name, weight in whole["state_dict"].items():
        assert torch.equal(weight, after["state_dict"][name]), name
