"""What `OnExceptionCheckpoint` promises."""

import os

import pytest
import torch

import pytorch_lightning as pl
from pytorch_lightning.callbacks.on_exception_checkpoint import OnExceptionCheckpoint
from pytorch_lightning.demos.boring_classes import BoringModel


def trainer_with(*callbacks, **arguments):
    defaults = {
        "max_epochs": 4,
        "limit_train_batches": 4,
        "limit_val_batches": 1,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{**defaults, **arguments}, callbacks=list(callbacks))


def test_path_of_an_exception_checkpoint(tmp_path):
    assert OnExceptionCheckpoint(tmp_path).ckpt_path == str(tmp_path / "on_exception.ckpt")
    assert OnExceptionCheckpoint("d", filename="x").ckpt_path == "d/x.ckpt"
    with pytest.raises(ValueError, match="filename"):
        OnExceptionCheckpoint(tmp_path, filename="")


class Breaking(BoringModel):
    """Fails at a step, once."""

    def __init__(self, at):
        super().__init__()
        self.at = at
        self.steps = []

    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == self.at:
            self.at = None
            raise RuntimeError("broken")
        self.steps.append(self.trainer.global_step)
        return super().training_step(batch, batch_idx)


def saving(tmp_path, **arguments):
    callback = OnExceptionCheckpoint(tmp_path / "kept")
    return trainer_with(callback, enable_checkpointing=True, default_root_dir=tmp_path, **arguments)


def test_the_state_is_kept_and_the_next_fit_goes_on_from_it(tmp_path):
    path = tmp_path / "kept" / "on_exception.ckpt"
    model = Breaking(at=6)
    with pytest.raises(RuntimeError, match="broken"):
        saving(tmp_path).fit(model)
    assert torch.load(path, weights_only=True)["global_step"] == 6
    assert model.steps == [0, 1, 2, 3, 4, 5]

    model.steps.clear()
    trainer = saving(tmp_path)
    trainer.fit(model)
    assert model.steps == list(range(6, 16))
    assert trainer.global_step == 16
    assert not path.exists()


def test_ordinary_checkpoints_are_kept_as_well(tmp_path):
    saving(tmp_path, max_epochs=1).fit(BoringModel())
    assert os.listdir(tmp_path / "checkpoints") == ["epoch=0-step=4.ckpt"]
    assert not os.path.exists(tmp_path / "kept" / "on_exception.ckpt")


def test_a_failure_before_training_leaves_the_file_of_before(tmp_path):
    class Unready(BoringModel):
        def prepare_data(self):
            raise RuntimeError("not ready")

    with pytest.raises(RuntimeError, match="broken"):
        saving(tmp_path).fit(Breaking(at=6))
    before = (tmp_path / "kept" / "on_exception.ckpt").read_bytes()
    with pytest.raises(RuntimeError, match="not ready"):
        saving(tmp_path).fit(Unready())
    assert (tmp_path / "kept" / "on_exception.ckpt").read_bytes() == before


def test_a_state_that_cannot_be_kept_does_not_hide_the_error(tmp_path):
    (tmp_path / "kept").write_text("a file where the folder should be")
    with (
        pytest.warns(UserWarning, match="could not be kept"),
        pytest.raises(RuntimeError, match="broken"),
    ):
        saving(tmp_path).fit(Breaking(at=2))
