"""The programs that the founding page links to, small, with the API that each of them uses."""

import argparse
import csv
import sys
from pathlib import Path

import pytest
import torch
from tests.trainer.watched import quiet
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks.progress import TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class Rows(Dataset):
    """Rows of four numbers with a class."""

    def __init__(self, count=8):
        self.rows = torch.rand(count, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index], int(self.rows[index, 0] > 0.5)


def loader(count=8):
    return DataLoader(Rows(count), batch_size=2)


# --- autoencoder --------------------------------------------------------------------------------


class Sampler(pl.callbacks.Callback):
    """Looks at samples at the end of each epoch, as the example does."""

    def __init__(self):
        super().__init__()
        self.seen = []

    @rank_zero_only
    def on_train_epoch_end(self, trainer, pl_module):
        rows, _ = next(iter(trainer.datamodule.predict_dataloader()))
        with torch.no_grad():
            pl_module.eval()
            decoded = pl_module(rows.to(pl_module.device))
            pl_module.train()
        self.seen.append((trainer.current_epoch, decoded.shape))


class LitAutoEncoder(pl.LightningModule):
    def __init__(self, hidden_dim: int = 3):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, hidden_dim))
        self.decoder = nn.Sequential(nn.Linear(hidden_dim, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def training_step(self, batch, batch_idx):
        return self._common_step(batch, batch_idx, "train")

    def validation_step(self, batch, batch_idx):
        self._common_step(batch, batch_idx, "val")

    def test_step(self, batch, batch_idx):
        self._common_step(batch, batch_idx, "test")

    def predict_step(self, batch, batch_idx, dataloader_idx=None):
        return self(batch[0])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)

    def _common_step(self, batch, batch_idx, stage):
        loss = nn.functional.mse_loss(self(batch[0]), batch[0])
        self.log(f"{stage}_loss", loss, on_step=True)
        return loss


class RowsModule(pl.LightningDataModule):
    def train_dataloader(self):
        return loader(8)

    def val_dataloader(self):
        return loader(4)

    def test_dataloader(self):
        return loader(4)

    def predict_dataloader(self):
        return loader(4)


def test_autoencoder(tmp_path):
    sampler, data = Sampler(), RowsModule()
    trainer = pl.Trainer(
        callbacks=sampler, max_epochs=2, default_root_dir=tmp_path, enable_progress_bar=False
    )
    trainer.fit(LitAutoEncoder(), datamodule=data)
    [results] = trainer.test(ckpt_path="best", datamodule=data, verbose=False)
    assert {"test_loss", "test_loss_epoch"} <= set(trainer.callback_metrics)
    predictions = trainer.predict(ckpt_path="best", datamodule=data)
    assert sampler.seen == [(0, (2, 4)), (1, (2, 4))]
    assert set(results) == {"test_loss_epoch"}
    assert [batch.shape for batch in predictions] == [(2, 4), (2, 4)]


# --- text transformers --------------------------------------------------------------------------


class Glue(pl.LightningDataModule):
    def __init__(self, task, splits):
        super().__init__()
        self.save_hyperparameters()
        self.eval_splits = splits

    def prepare_data(self):
        self.prepared = True

    def setup(self, stage):
        self.rows = Rows(8)

    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=2)

    def val_dataloader(self):
        if len(self.eval_splits) == 1:
            return DataLoader(self.rows, batch_size=4)
        return [DataLoader(self.rows, batch_size=4) for _ in self.eval_splits]


class Transformer(pl.LightningModule):
    def __init__(self, eval_splits, learning_rate=1e-2, warmup=2):
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Linear(4, 2)

    def forward(self, **inputs):
        return self.body(inputs["rows"])

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(rows=batch[0]), batch[1])

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        logits = self(rows=batch[0])
        return {"loss": nn.functional.cross_entropy(logits, batch[1]), "preds": logits.argmax(1)}

    def validation_epoch_end(self, outputs):
        several = len(self.hparams.eval_splits) > 1
        assert isinstance(outputs[0], list) is several
        for i, output in enumerate(outputs if several else [outputs]):
            split = self.hparams.eval_splits[i].split("_")[-1]
            loss = torch.stack([x["loss"] for x in output]).mean()
            self.log(f"val_loss_{split}", loss, prog_bar=True)
            self.log_dict({f"count_{split}": float(len(output))}, prog_bar=True)
        return loss

    def configure_optimizers(self):
        groups = [
            {"params": [self.body.weight], "weight_decay": 0.1},
            {"params": [self.body.bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=self.hparams.learning_rate)
        steps = self.trainer.estimated_stepping_batches
        self.estimated = steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step", "frequency": 1}]


@pytest.mark.parametrize("splits", [["validation"], ["validation_matched", "validation_other"]])
def test_text_transformers(splits):
    pl.seed_everything(42, verbose=False)
    data = Glue("mnli", splits)
    data.prepare_data()
    data.setup("fit")
    assert next(iter(data.train_dataloader()))[0].shape == (2, 4)
    module = Transformer(splits)
    trainer = quiet(max_epochs=2, accelerator="auto", devices=None)
    trainer.fit(module, datamodule=data)
    results = trainer.validate(module, data, verbose=False)
    names = {split.split("_")[-1] for split in splits}
    expected = {f"val_loss_{name}" for name in names} | {f"count_{name}" for name in names}
    assert set(results[0]) == expected  # no suffix of the loader
    assert module.estimated == 8
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0)


# --- reinforcement learning ---------------------------------------------------------------------


class Experience(IterableDataset):
    """Samples from a buffer that grows while it is read."""

    def __init__(self, buffer, count):
        self.buffer, self.count = buffer, count

    def __iter__(self):
        for _ in range(self.count):
            yield self.buffer[-1]


class DQN(pl.LightningModule):
    def __init__(self, sync_rate=2):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.target_net = nn.Linear(4, 2), nn.Linear(4, 2)
        self.buffer, self.total_reward = [torch.rand(4)], 0

    def training_step(self, batch, nb_batch):
        device = "cuda" if self.on_gpu else "cpu"
        assert (batch.device.index if self.on_gpu else device) == "cpu"
        self.buffer.append(torch.rand(4))
        self.total_reward += 1
        with torch.no_grad():
            goal = self.target_net(batch).max(1).values
        loss = nn.functional.mse_loss(self.net(batch).max(1).values, goal)
        if self.global_step % self.hparams.sync_rate == 0:
            self.target_net.load_state_dict(self.net.state_dict())
        self.log_dict({"reward": self.total_reward, "train_loss": loss})
        self.log("steps", self.global_step, logger=False, prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.Adam(self.net.parameters(), lr=1e-2)

    def train_dataloader(self):
        return DataLoader(Experience(self.buffer, 4), batch_size=2)


@pytest.mark.filterwarnings("ignore:.*it is converted")
def test_reinforcement_learning(tmp_path):
    module = DQN()
    trainer = quiet(
        max_epochs=3, val_check_interval=50, logger=CSVLogger(tmp_path), log_every_n_steps=1
    )
    trainer.fit(module)
    with open(Path(trainer.logger.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"epoch", "step", "reward", "train_loss"} <= set(rows[0])
    assert "steps" not in rows[0]
    assert [float(row["reward"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert trainer.progress_bar_metrics["steps"] == 5


# --- generative adversarial network -------------------------------------------------------------


class GAN(pl.LightningModule):
    def __init__(self, latent=2):
        super().__init__()
        self.save_hyperparameters()
        self.generator, self.discriminator = nn.Linear(latent, 4), nn.Linear(4, 1)
        self.example_input_array = torch.zeros(2, latent)
        self.seen = []

    def forward(self, z):
        return self.generator(z)

    def training_step(self, batch, batch_idx, optimizer_idx):
        rows, _ = batch
        z = torch.randn(len(rows), self.hparams.latent).type_as(rows)
        frozen = [not p.requires_grad for p in self.discriminator.parameters()]
        self.seen.append((batch_idx, optimizer_idx, all(frozen)))
        ones, zeros = torch.ones(len(rows), 1), torch.zeros(len(rows), 1)
        loss = nn.functional.binary_cross_entropy_with_logits
        if optimizer_idx == 0:
            g_loss = loss(self.discriminator(self(z)), ones)
            self.log("g_loss", g_loss, prog_bar=True)
            return g_loss
        fake = loss(self.discriminator(self(z).detach()), zeros)
        d_loss = (loss(self.discriminator(rows), ones) + fake) / 2
        self.log("d_loss", d_loss, prog_bar=True)
        return d_loss

    def configure_optimizers(self):
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=1e-3)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=1e-3)
        return [opt_g, opt_d], []

    def on_validation_epoch_end(self):
        raise AssertionError("there is no validation_step")


def test_generative_adversarial_network(recwarn):
    data, module = RowsModule(), GAN()
    data.dims = (1, 4)
    trainer = quiet(
        enable_progress_bar=True,
        callbacks=[TQDMProgressBar(refresh_rate=20)],
        limit_train_batches=2,
    )
    trainer.fit(module, data)
    assert module.seen == [(0, 0, True), (0, 1, False), (1, 0, True), (1, 1, False)]
    assert trainer.global_step == 4
    assert set(trainer.progress_bar_metrics) == {"g_loss", "d_loss"}
    assert any("validation is skipped" in str(w.message) for w in recwarn)


# --- image classifier ---------------------------------------------------------------------------


class Classifier(pl.LightningModule):
    """Owns its data, and has a metric object."""

    def __init__(self, metrics):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.val_accuracy = metrics.Accuracy(task="multiclass", num_classes=2)
        self.test_accuracy = metrics.Accuracy(task="multiclass", num_classes=2)

    def prepare_data(self):
        self.prepared = True

    def setup(self, stage=None):
        self.rows = Rows(8)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.layer(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.val_accuracy.update(self.layer(batch[0]), batch[1])
        self.log("val_acc", self.val_accuracy, prog_bar=True)

    def test_step(self, batch, batch_idx):
        self.test_accuracy.update(self.layer(batch[0]), batch[1])
        self.log("test_acc", self.test_accuracy, prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.02)

    def train_dataloader(self):
        return DataLoader(self.rows, batch_size=2)

    val_dataloader = test_dataloader = train_dataloader


def test_image_classifier(tmp_path):
    metrics = pytest.importorskip("torchmetrics")
    module = Classifier(metrics)
    trainer = pl.Trainer(
        max_epochs=2,
        logger=CSVLogger(tmp_path),
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module)
    with torch.no_grad():
        module.layer.weight.fill_(float("nan"))
    with pytest.warns(UserWarning, match="best checkpoint"):
        [result] = trainer.test(verbose=False)
    assert not torch.isnan(module.layer.weight).any()
    logits = module.layer(module.rows.rows)
    labels = torch.tensor([module.rows[i][1] for i in range(8)])
    assert result["test_acc"] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
    with pytest.warns(UserWarning, match="nothing is left to do"):
        trainer.fit(module)  # "to continue training": said that it does not


# --- semantic segmentation ----------------------------------------------------------------------


class SegModel(pl.LightningModule):
    def __init__(self, lr=0.1, num_layers=2, **kwargs):
        super().__init__(**kwargs)
        self.lr = lr
        self.net = nn.Linear(4, 2)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        log_dict = {"train_loss": loss.detach()}
        return {"loss": loss, "log": log_dict, "progress_bar": log_dict}

    def validation_step(self, batch, batch_idx):
        return {"val_loss": nn.functional.cross_entropy(self(batch[0]), batch[1])}

    def validation_epoch_end(self, outputs):
        loss = torch.stack([x["val_loss"] for x in outputs]).mean()
        return {"log": {"val_loss": loss}, "val_loss": loss, "progress_bar": {"val_loss": loss}}

    def configure_optimizers(self):
        opt = torch.optim.Adam(self.net.parameters(), lr=self.lr)
        return [opt], [torch.optim.lr_scheduler.CosineAnnealingLR(opt, T_max=10)]

    def train_dataloader(self):
        return loader(8)

    def val_dataloader(self):
        return loader(4)

    @staticmethod
    def add_model_specific_args(parent_parser):
        parser = parent_parser.add_argument_group("SegModel")
        parser.add_argument("--lr", type=float, default=0.001)
        parser.add_argument("--num_layers", type=int, default=5)
        return parent_parser


def test_semantic_segmentation():
    parser = argparse.ArgumentParser(add_help=False)
    parser = pl.Trainer.add_argparse_args(SegModel.add_model_specific_args(parser))
    quietly = ["--logger", "false", "--enable_progress_bar", "false"]
    hparams = parser.parse_args(["--lr", "0.5", "--max_epochs", "1", *quietly])
    module = SegModel(lr=hparams.lr, num_layers=hparams.num_layers)
    trainer = pl.Trainer.from_argparse_args(hparams, enable_checkpointing=False)
    trainer.fit(module)
    assert trainer.global_step == 4
    assert trainer.optimizers[0].param_groups[0]["lr"] < 0.5
    with pytest.raises(TypeError, match="unexpected keyword"):
        SegModel(**vars(hparams))  # arguments that torch's module does not know


# --- and more -----------------------------------------------------------------------------------


def test_a_schedule_by_step_and_augmentation_on_the_device():
    class More(LitAutoEncoder):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            rows, labels = batch
            return (rows + 1 if self.trainer.training else rows), labels

        def training_step(self, batch, batch_idx):
            assert batch[0].min() >= 1
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            assert batch[0].max() < 1

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            steps = int(self.trainer.estimated_stepping_batches)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }

    trainer = quiet(max_epochs=2)
    trainer.fit(More(), RowsModule())
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 8


def test_no_example_needed_more_than_torch():
    assert "torchvision" not in sys.modules
