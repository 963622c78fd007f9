"""Special values in the states of callbacks and in what hooks add, through a run and back."""

import pytest
import torch
from tests.checkpoint.test_plain import ARRAYS, SAME

import pytorch_lightning as pl
from pytorch_lightning.demos.boring_classes import BoringModel

VALUES = {**SAME, **ARRAYS}
QUIET = {
    "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "max_epochs": 1,
    "enable_checkpointing": False, "limit_train_batches": 1, "limit_val_batches": 0,
    "accelerator": "cpu",
}  # fmt: skip


class Keeps(pl.Callback):
    found = added = None

    def state_dict(self):
        return VALUES

    def load_state_dict(self, state_dict):
        self.found = state_dict

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["of the callback"] = VALUES

    def on_load_checkpoint(self, trainer, pl_module, checkpoint):
        self.added = checkpoint["of the callback"]


class Model(BoringModel):
    added = None

    def on_save_checkpoint(self, checkpoint):
        checkpoint["of the module"] = VALUES

    def on_load_checkpoint(self, checkpoint):
        self.added = checkpoint["of the module"]


@pytest.mark.filterwarnings("ignore")
def test_values_of_each_kind_come_back_from_everywhere(tmp_path):
    saved = pl.Trainer(**QUIET, callbacks=[Keeps()], default_root_dir=tmp_path)
    saved.fit(Model())
    saved.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    keeps, module = Keeps(), Model()
    again = pl.Trainer(**{**QUIET, "max_epochs": 2}, callbacks=[keeps], default_root_dir=tmp_path)
    again.fit(module, ckpt_path=tmp_path / "a.ckpt")
    for found in (keeps.found, keeps.added, module.added):
        assert found.keys() == VALUES.keys()
        for name, value in VALUES.items():
            assert type(found[name]) is type(value), name
            assert repr(found[name]) == repr(value), name
