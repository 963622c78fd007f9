"""Train an autoencoder on handwritten digits, reload its checkpoint, and draw what it learned.

python examples/autoencoder.py                  # 1797 digits that ship with scikit-learn
python examples/autoencoder.py --data mnist     # 70000 digits; needs torchvision and a network
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

EMBEDDING_SIZE = 3
EPOCHS = {"digits": 60, "mnist": 3}


class LitAutoEncoder(pl.LightningModule):
    """Squeezes an image through three numbers."""

    def __init__(self, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.encoder = nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, EMBEDDING_SIZE))
        self.decoder = nn.Sequential(nn.Linear(EMBEDDING_SIZE, 64), nn.ReLU(), nn.Linear(64, 784))

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.encoder(x.flatten(1))
        return embedding

    def reconstruct(self, x: Tensor) -> Tensor:
        """Encode and decode images."""
        image: Tensor = self.decoder(self(x))
        return image.view_as(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, _ = batch
        loss = F.mse_loss(self.reconstruct(x), x)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, _ = batch
        self.log("val_loss", F.mse_loss(self.reconstruct(x), x), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


@dataclass
class Digits:
    """Images of 28x28 with values in [0, 1], and which digit each one is."""

    train: TensorDataset
    val: TensorDataset
    test: TensorDataset


def load_digits() -> Digits:
    """The 8x8 scans that ship with scikit-learn, scaled to 28x28."""
    from sklearn import datasets

    scans = datasets.load_digits()
    small = torch.tensor(scans.images, dtype=torch.float32)[:, None] / 16
    images = F.interpolate(small, size=(28, 28), mode="bilinear")[:, 0]
    return split(images, torch.tensor(scans.target), num_held_out=200)


def load_mnist(folder: Path) -> Digits:
    """MNIST, downloaded by torchvision."""
    from torchvision import datasets

    data = datasets.MNIST(str(folder), download=True)
    return split(data.data.float() / 255, data.targets, num_held_out=5000)


def split(images: Tensor, labels: Tensor, *, num_held_out: int) -> Digits:
    """Hold out so many for validation, and as many for the test."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    test, val, train = torch.tensor_split(order, [num_held_out, 2 * num_held_out])
    return Digits(*(TensorDataset(images[part], labels[part]) for part in (train, val, test)))


def baseline_errors(train: Tensor, test: Tensor) -> tuple[float, float]:
    """The test errors of always answering the mean digit, and of PCA with as many numbers."""
    train, test = train.flatten(1), test.flatten(1)
    mean = train.mean(0)
    _, directions = torch.linalg.eigh((train - mean).T @ (train - mean))
    top = directions[:, -EMBEDDING_SIZE:]
    reconstructed = (test - mean) @ top @ top.T + mean
    return float(F.mse_loss(mean.expand_as(test), test)), float(F.mse_loss(reconstructed, test))


def fit(digits: Digits, folder: Path, epochs: int) -> tuple[Path, Path]:
    """Train; where the logs and the best checkpoint are."""
    tensorboard = TensorBoardLogger(folder)
    checkpoint = ModelCheckpoint(monitor="val_loss")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        log_every_n_steps=10,
        logger=[tensorboard, CSVLogger(folder, version=tensorboard.version)],
        callbacks=[checkpoint],
    )
    trainer.fit(
        LitAutoEncoder(),
        DataLoader(digits.train, batch_size=32, shuffle=True),
        DataLoader(digits.val, batch_size=200),
    )
    return Path(tensorboard.log_dir), Path(checkpoint.best_model_path)


def draw_reconstructions(images: Tensor, labels: Tensor, model: LitAutoEncoder, path: Path) -> None:
    """Draw inputs above outputs, and all embeddings coloured by digit."""
    from matplotlib.figure import Figure

    outputs, embeddings = model.reconstruct(images), model(images)
    figure = Figure(figsize=(9, 9))
    for digit in range(10):
        index = int((labels == digit).nonzero()[0])
        for row, image in enumerate((images[index], outputs[index])):
            axes = figure.add_subplot(6, 10, 10 * row + digit + 1)
            axes.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
            axes.set_axis_off()
    space = figure.add_subplot(3, 1, (2, 3), projection="3d")
    points = space.scatter(*embeddings.T.numpy(), c=labels.numpy(), cmap="tab10")
    space.legend(*points.legend_elements(), title="digit", loc="center left")
    figure.suptitle("Held-out digits, their reconstructions, and the three numbers between")
    figure.savefig(path, dpi=120)


def draw_curves(metrics: Path, baselines: dict[str, float], path: Path) -> None:
    """Draw the losses that were logged, beside the baselines."""
    from matplotlib.figure import Figure

    with metrics.open(newline="") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(8, 5))
    axes = figure.add_subplot()
    for name in ("train_loss", "val_loss"):
        points = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        axes.plot(*zip(*points, strict=True), label=name)
    for name, error in baselines.items():
        axes.axhline(error, linestyle="--", color="gray")
        axes.annotate(name, (0, error), va="bottom")
    axes.set(xlabel="step", ylabel="mean squared error", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments: list[str] | None = None) -> int:
    """Train, reload, compare, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=sorted(EPOCHS), default="digits")
    parser.add_argument("--epochs", type=int, help="default: 60 for digits, 3 for mnist")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where everything goes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    try:
        digits = load_digits() if options.data == "digits" else load_mnist(options.out / "data")
    except Exception as failure:
        reason = str(failure).partition("\n")[0]
        print(f"`--data {options.data}` cannot be loaded here: {reason}", file=sys.stderr)
        return 2

    epochs = EPOCHS[options.data] if options.epochs is None else options.epochs
    log_dir, checkpoint = fit(digits, options.out, epochs)
    print(f"\nlogs        {log_dir}\ncheckpoint  {checkpoint}\n")

    model = LitAutoEncoder.load_from_checkpoint(checkpoint).eval().requires_grad_(False)
    images, labels = digits.test.tensors
    error = float(F.mse_loss(model.reconstruct(images), images))
    mean_error, pca_error = baseline_errors(digits.train.tensors[0], images)
    print(f"mean squared error on {len(images)} held-out digits")
    print(f"  the mean digit         {mean_error:.4f}")
    print(f"  PCA with 3 components  {pca_error:.4f}")
    print(f"  autoencoder, 3 numbers {error:.4f}   ({error / pca_error:.0%} of PCA's)\n")

    draw_reconstructions(images, labels, model, options.out / "reconstructions.png")
    baselines = {"mean": mean_error, "PCA": pca_error}
    draw_curves(log_dir / "metrics.csv", baselines, options.out / "curves.png")
    print(f"drawn       {options.out / 'reconstructions.png'}, {options.out / 'curves.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
