"""Training goes on from files of every release, with the counters that they hold."""

import pathlib

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision

FILES = sorted(
    path
    for path in (pathlib.Path(__file__).parent / "data").glob("*.ckpt")
    if path.stem.partition("-")[2] in ("end", "middle", "manual", "several", "scaler")
)
# Epoch and optimizer steps when training begins again, and after four epochs. Releases up to 1.5
# wrote one step more than they had done, and counted those of several optimizers as one.
EXPECTED = {
    "end": ((2, 12), (4, 24)), "middle": ((2, 8), (4, 20)), "manual": ((2, 24), (4, 48)),
    "several": ((2, 16), (4, 40)), "scaler": ((1, 6), (4, 24)),
}  # fmt: skip
EARLY = {
    "end": ((2, 13), (4, 25)), "middle": ((1, 9), (4, 27)), "manual": ((2, 26), (4, 50)),
    "several": ((2, 26), (4, 50)),
}  # fmt: skip


class Golden(pl.LightningModule):
    def __init__(self, width=3, lr=0.05, folder=None, options=None, sizes=(1, 2)):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(2, width)
        self.head = torch.nn.Linear(width, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return torch.nn.functional.mse_loss(self.head(self.layer(x)), y)

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]


class Manual(Golden):
    def __init__(self, width=3, lr=0.05, nested=None, folder=None, options=None, sizes=(1, 2)):
        super().__init__(width, lr)
        self.save_hyperparameters()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    def configure_optimizers(self):
        first = torch.optim.SGD(self.layer.parameters(), lr=self.hparams.lr)
        return first, torch.optim.Adam(self.head.parameters(), lr=self.hparams.lr)


class Began(pl.Callback):
    at = None

    def on_train_start(self, trainer, pl_module):
        self.at = trainer.current_epoch, trainer.global_step


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore")
def test_training_goes_on(path, tmp_path):
    release, _, kind = path.stem.partition("-")
    early = tuple(map(int, release.split(".")[:2])) < (1, 6)
    cls = Manual if kind in ("manual", "several") else Golden
    module = cls.load_from_checkpoint(path)
    began, stop = Began(), EarlyStopping("val_loss", patience=5, check_on_train_epoch_end=False)
    plugins = None
    if kind == "scaler":
        scaler = torch.amp.GradScaler("cpu")
        plugins = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    trainer = pl.Trainer(
        max_epochs=4, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, limit_val_batches=0, plugins=plugins,
        callbacks=[began, stop, ModelCheckpoint(tmp_path, monitor="val_loss")],
    )  # fmt: skip
    x = torch.arange(12, dtype=torch.float32).reshape(6, 2) / 10
    data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=1)
    trainer.fit(module, data, ckpt_path=path)
    expected = (EARLY if early else EXPECTED)[kind]
    assert (began.at, (trainer.current_epoch, trainer.global_step)) == expected
    assert stop.best_score < torch.inf
