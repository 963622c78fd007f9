"""Hyperparameters of datamodules come out of the files of every release that kept them."""

import pathlib

import pytest

import pytorch_lightning as pl

RELEASES = ("1.8.6", "1.9.5", "2.0.9", "2.2.5", "2.4.0", "2.5.6", "2.6.6")


class Data(pl.LightningDataModule):
    def __init__(self, batch_size=1, root=None):
        super().__init__()
        self.save_hyperparameters()
        self.batch_size = batch_size


@pytest.mark.parametrize("release", RELEASES)
def test_a_datamodule_is_made_anew(release):
    path = pathlib.Path(__file__).parent / "data" / f"{release}-manual.ckpt"
    data = Data.load_from_checkpoint(path)
    assert data.batch_size == 2
    assert dict(data.hparams) == {"batch_size": 2, "root": pathlib.Path("root")}
    assert Data.load_from_checkpoint(path, batch_size=5).batch_size == 5
