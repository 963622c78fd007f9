"""A state on a GPU is copied in the order of its stream, while the process goes on."""

import pytest
import torch

from pytorch_lightning.checkpoint.async_io import AsyncCheckpointIO
from pytorch_lightning.checkpoint.staging import Staging

GPU = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_what_follows_on_the_device_is_not_in_the_copy(device):
    staging = Staging()
    state = {"weight": torch.ones(1 << 22, device=device), "count": torch.tensor(1)}
    for value in (1.0, 2.0):
        state["weight"].fill_(value)
        copied = staging.copy(state)
        state["weight"].zero_()
        staging.await_copies()
        assert copied["weight"].device.type == "cpu" and copied["weight"].eq(value).all()
    staging.release()


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_the_file_holds_the_state_of_the_moment(device, tmp_path):
    io, weight = AsyncCheckpointIO(), torch.arange(1000.0, device=device)
    io.save_checkpoint({"weight": weight, "half": weight[500:]}, tmp_path / "a.ckpt")
    weight.zero_()
    found = io.load_checkpoint(tmp_path / "a.ckpt")
    assert found["weight"].tolist() == [float(i) for i in range(1000)]
    assert found["half"].untyped_storage().data_ptr() == found["weight"].data_ptr()
    io.teardown()
