"""What `OnExceptionCheckpoint` promises."""

import pytest

from pytorch_lightning.callbacks.on_exception_checkpoint import OnExceptionCheckpoint


def test_path_of_an_exception_checkpoint(tmp_path):
    assert OnExceptionCheckpoint(tmp_path).ckpt_path == str(tmp_path / "on_exception.ckpt")
    assert OnExceptionCheckpoint("d", filename="x").ckpt_path == "d/x.ckpt"
    with pytest.raises(ValueError, match="filename"):
        OnExceptionCheckpoint(tmp_path, filename="")
