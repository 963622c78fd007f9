import os
import random
import subprocess
import sys

import pytest
import torch

from pytorch_lightning.utilities.seed import (
    capture_rng,
    isolate_rng,
    reset_seed,
    restore_rng,
    seed_everything,
)


def draw():
    import numpy

    return [random.random(), torch.rand(1).item(), float(numpy.random.rand())]


def test_the_same_seed_gives_the_same_numbers():
    assert seed_everything(7, verbose=False) == 7
    first = draw()
    seed_everything(7, verbose=False)
    assert draw() == first
    assert os.environ["PL_GLOBAL_SEED"] == "7"
    assert os.environ["PL_SEED_WORKERS"] == "0"


def test_reset_goes_back_to_the_seed():
    seed_everything(3, workers=True, verbose=False)
    first = draw()
    reset_seed()
    assert draw() == first
    assert os.environ["PL_SEED_WORKERS"] == "1"


def test_without_a_seed_the_environment_decides(monkeypatch):
    monkeypatch.setenv("PL_GLOBAL_SEED", "11")
    assert seed_everything() == 11
    monkeypatch.setenv("PL_GLOBAL_SEED", "eleven")
    with pytest.warns(UserWarning, match="`PL_GLOBAL_SEED='eleven'` is no number"):
        assert seed_everything() == 0
    monkeypatch.delenv("PL_GLOBAL_SEED")
    with pytest.warns(UserWarning, match="No seed found"):
        assert seed_everything() == 0


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ValueError, match=f"`seed={seed}` is out of range"):
        seed_everything(seed)


def test_the_state_is_plain_data_and_comes_back(tmp_path):
    state = capture_rng()
    first = draw()
    torch.save(state, tmp_path / "state.pt")
    restore_rng(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == first


def test_isolation_leaves_generators_alone_even_after_an_error():
    draw()
    state = capture_rng()
    with pytest.raises(RuntimeError), isolate_rng():
        seed_everything(1, verbose=False)
        raise RuntimeError
    expected = draw()
    restore_rng(state)
    assert draw() == expected


def test_importing_changes_no_environment_and_starts_nothing():
    program = (
        "import os, sys, threading, torch; found = dict(os.environ); "
        "import pytorch_lightning; "
        "assert dict(os.environ) == found and threading.active_count() == 1"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
