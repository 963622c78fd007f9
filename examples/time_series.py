"""Forecast the temperature of the sea off Peru for half a year, month by month.

python examples/time_series.py                # 1950 to 2010, as statsmodels ships it
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

PAST, AHEAD, YEAR = 24, 6, 12  # months


class Sea(pl.LightningDataModule):
    """Windows of two years and the half year after; validated on the 1980s, tested from 1990."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        from statsmodels.datasets import elnino

        table = torch.tensor(elnino.load_pandas().data.to_numpy(), dtype=torch.float32)
        years, degrees = table[:, 0], table[:, 1:].flatten()
        self.usual = table[years < 1980, 1:].mean(0)  # of each month of the year
        unusual = degrees - self.usual.repeat(len(years))
        starts = torch.arange(len(degrees) - PAST - AHEAD + 1)
        month = (starts + PAST) % YEAR
        windows = unusual.unfold(0, PAST + AHEAD, 1)
        self.year = years[(starts + PAST) // YEAR]
        self.whole = TensorDataset(windows[:, :PAST], month, windows[:, PAST:])

    def between(self, first: int, last: int) -> TensorDataset:
        """Windows whose forecast begins in these years, the last one not included."""
        chosen = (self.year >= first) & (self.year < last)
        return TensorDataset(*(column[chosen] for column in self.whole.tensors))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.between(0, 1979), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.between(1980, 1989), batch_size=500)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.between(1990, 2011), batch_size=500)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()


class LitForecaster(pl.LightningModule):
    """What is unusual fades by a rate for each month; a small network adds what it learned."""

    def __init__(self, width: int = 32, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.month = nn.Embedding(YEAR, 8)
        self.fading = nn.Parameter(torch.linspace(0.8, 0.2, AHEAD))
        self.net = nn.Sequential(
            nn.Linear(PAST + 8, width), nn.GELU(), nn.Dropout(0.3), nn.Linear(width, AHEAD)
        )
        nn.init.zeros_(self.net[-1].weight)

    def forward(self, past: Tensor, month: Tensor) -> Tensor:
        learned = self.net(torch.cat([past, self.month(month)], 1))
        return past[:, -1:] * self.fading + learned

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return self.error(batch, "train_mae")

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.error(batch, "val_mae")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.error(batch, "test_mae")

    def error(self, batch: list[Tensor], name: str) -> Tensor:
        """The mean absolute error in degrees."""
        past, month, future = batch
        error = (self(past, month) - future).abs().mean()
        self.log(name, error, on_step=False, on_epoch=True, prog_bar=True)
        return error

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        forecast: Tensor = self(batch[0], batch[1])
        return forecast

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "monitor": "val_mae"},
        }


def draw(sea: Sea, forecasts: Tensor, path: Path) -> None:
    """What was measured, and every third forecast."""
    from matplotlib.figure import Figure

    past, month, future = sea.between(1990, 2011).tensors
    months = torch.arange(len(past))
    figure = Figure(figsize=(12, 4))
    axes = figure.add_subplot()
    axes.plot(months / YEAR + 1990, future[:, 0] + sea.usual[month], color="gray", label="measured")
    for start in range(0, len(past), 3):
        ahead = torch.arange(AHEAD)
        values = forecasts[start] + sea.usual[(month[start] + ahead) % YEAR]
        label = "forecast" if start == 0 else None
        axes.plot((start + ahead) / YEAR + 1990, values, color="tab:red", alpha=0.5, label=label)
    axes.set(xlabel="year", ylabel="degrees Celsius")
    axes.legend()
    figure.savefig(path, dpi=100)


def main(arguments: list[str] | None = None) -> int:
    """Train, test the best checkpoint, compare, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("demo/sea"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    sea = Sea()
    try:
        sea.setup("fit")
    except ImportError as failure:
        print(f"the series cannot be loaded here: {failure}; install statsmodels", file=sys.stderr)
        return 2
    best = ModelCheckpoint(monitor="val_mae")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=options.epochs,
        callbacks=[best, EarlyStopping("val_mae", patience=20)],
        logger=CSVLogger(options.out),
        log_every_n_steps=5,
    )
    trainer.fit(LitForecaster(), datamodule=sea)
    (scores,) = trainer.test(ckpt_path="best", datamodule=sea, verbose=False)
    forecasts = torch.cat(trainer.predict(ckpt_path="best", datamodule=sea))

    past, _, future = sea.between(1990, 2011).tensors
    as_last_year = (past[:, -YEAR : -YEAR + AHEAD] - future).abs().mean()
    as_today = (past[:, -1:] - future).abs().mean()
    print(f"\nmean absolute error in degrees, {AHEAD} months from 1990 to 2010")
    print(f"  as it was a year before  {as_last_year:.3f}")
    print(f"  as in most years         {future.abs().mean():.3f}")
    print(f"  as unusual as today      {as_today:.3f}")
    print(f"  forecaster               {scores['test_mae']:.3f}")
    draw(sea, forecasts, options.out / "forecasts.png")
    print(f"drawn       {options.out / 'forecasts.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
