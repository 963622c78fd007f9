"""Two networks against each other: one makes digits, one tells them from real ones.

python examples/gan.py                       # manual optimization, 1797 digits of scikit-learn
python examples/gan.py --style automatic     # the Trainer steps both optimizers, in the way of 1.x
python examples/gan.py --data mnist          # needs torchvision and a network
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger

LATENT = 32


def generator(width: int = 64) -> nn.Sequential:
    """From noise of shape (count, 32) to images of shape (count, 1, 8, 8) in [-1, 1]."""
    grow = {"kernel_size": 4, "stride": 2, "padding": 1}
    return nn.Sequential(
        *(nn.Linear(LATENT, 8 * width, bias=False), nn.Unflatten(1, (2 * width, 2, 2))),
        *(nn.BatchNorm2d(2 * width), nn.ReLU()),
        nn.ConvTranspose2d(2 * width, width, **grow, bias=False),
        *(nn.BatchNorm2d(width), nn.ReLU()),
        *(nn.ConvTranspose2d(width, 1, **grow), nn.Tanh()),
    )


def discriminator(width: int = 64) -> nn.Sequential:
    """From images to a logit: is it real?"""
    shrink = {"kernel_size": 4, "stride": 2, "padding": 1}
    return nn.Sequential(
        *(nn.Conv2d(1, width, **shrink), nn.LeakyReLU(0.2), nn.Dropout(0.2)),
        *(nn.Conv2d(width, 2 * width, **shrink), nn.LeakyReLU(0.2), nn.Dropout(0.2)),
        *(nn.Flatten(), nn.Linear(8 * width, 1)),
    )


class GAN(pl.LightningModule):
    """Networks, losses and samples; how they are optimized is up to the two below."""

    def __init__(self, learning_rate: float = 2e-3, folder: str = "demo/gan") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate, self.folder = learning_rate, Path(folder)
        self.generator, self.discriminator = generator(), discriminator()
        noise = torch.randn(64, LATENT, generator=torch.Generator().manual_seed(0))
        self.register_buffer("shown", noise)  # the same samples after each epoch

    def forward(self, noise: Tensor) -> Tensor:
        return self.generator(noise)

    def sample(self, count: int) -> Tensor:
        """New images."""
        return self(torch.randn(count, LATENT, device=self.device))

    def loss_of_generator(self, real: Tensor) -> Tensor:
        """How badly it deceives."""
        loss = F.softplus(-self.discriminator(self.sample(len(real)))).mean()
        self.log("generator", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def loss_of_discriminator(self, real: Tensor) -> Tensor:
        """How badly it tells apart."""
        with torch.no_grad():
            fake = self.sample(len(real))
        tells_real, tells_fake = self.discriminator(real), self.discriminator(fake)
        loss = F.softplus(-tells_real).mean() + F.softplus(tells_fake).mean()
        self.log("discriminator", loss, prog_bar=True, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self) -> Any:
        fast, slow, betas = self.learning_rate, self.learning_rate / 4, (0.5, 0.99)
        of_generator = torch.optim.Adam(self.generator.parameters(), fast, betas)
        return [of_generator, torch.optim.Adam(self.discriminator.parameters(), slow, betas)]

    def on_train_epoch_end(self) -> None:
        with torch.no_grad():
            grid = tiled(self(self.shown))
        self.logger.experiment.add_image("samples", grid[None], self.current_epoch)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_png(grid, self.folder / f"epoch-{self.current_epoch:03}.png")


class ManualGAN(GAN):
    """Steps its optimizers itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch: list[Tensor], batch_idx: int) -> None:
        of_generator, of_discriminator = self.optimizers()
        losses = (self.loss_of_discriminator, self.loss_of_generator)
        for optimizer, loss in zip((of_discriminator, of_generator), losses, strict=True):
            self.toggle_optimizer(optimizer)
            value = loss(batch[0])
            optimizer.zero_grad()
            self.manual_backward(value)
            optimizer.step()
            self.untoggle_optimizer(optimizer)


class AutomaticGAN(GAN):
    """Has its optimizers stepped one after the other on each batch."""

    def training_step(self, batch: list[Tensor], batch_idx: int, optimizer_idx: int) -> Tensor:
        loss = self.loss_of_generator if optimizer_idx == 0 else self.loss_of_discriminator
        return loss(batch[0])


def tiled(images: Tensor, columns: int = 8) -> Tensor:
    """Images of shape (count, 1, height, width) in [-1, 1] as one of values in [0, 1]."""
    rows = F.pad((images[:, 0] + 1) / 2, (1, 1, 1, 1)).split(columns)
    return torch.cat([torch.cat(list(row), dim=1) for row in rows])


def write_png(grid: Tensor, path: Path) -> None:
    from matplotlib.image import imsave

    imsave(path, grid.repeat_interleave(4, 0).repeat_interleave(4, 1).numpy(), cmap="gray_r")


def load(name: str, folder: Path) -> tuple[Tensor, Tensor]:
    """Images of shape (count, 1, 8, 8) in [-1, 1], and labels."""
    if name == "mnist":
        from torchvision import datasets

        data = datasets.MNIST(str(folder), download=True)
        small = F.interpolate(data.data[:, None].float() / 255, size=(8, 8), mode="area")
        return small * 2 - 1, data.targets
    from sklearn.datasets import load_digits

    images, labels = map(torch.tensor, (load_digits().images, load_digits().target))
    return images[:, None].float() / 8 - 1, labels


def judge(images: Tensor, labels: Tensor) -> nn.Module:
    """A classifier that was trained on real digits alone."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(20):
        for part in torch.randperm(len(images)).split(64):
            loss = F.cross_entropy(network(images[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.requires_grad_(False)


def main(arguments: list[str] | None = None) -> int:
    """Train, and let the judge look at a thousand samples."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--style", choices=["manual", "automatic"], default="manual")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("demo/gan"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    try:
        images, labels = load(options.data, options.out / "data")
    except Exception as failure:
        reason = str(failure).partition("\n")[0]
        print(f"`--data {options.data}` cannot be loaded here: {reason}", file=sys.stderr)
        return 2
    opinion = judge(images, labels)
    gan = {"manual": ManualGAN, "automatic": AutomaticGAN}[options.style](folder=str(options.out))
    loader = DataLoader(TensorDataset(images), 64, shuffle=True, drop_last=True)
    run = {"max_epochs": options.epochs, "logger": TensorBoardLogger(options.out)}
    trainer = pl.Trainer(accelerator="cpu", log_every_n_steps=20, **run)
    trainer.fit(gan, loader)

    gan.eval()
    with torch.no_grad():
        made = opinion(gan.sample(1000)).softmax(1)
        noise = opinion(torch.rand(1000, 1, 8, 8) * 2 - 1).softmax(1)
    write_png(tiled(gan.sample(64).detach()), options.out / "samples.png")
    print("\na judge that knows real digits alone looks at 1000 images")
    for name, seen in (("noise", noise), ("samples", made)):
        confidence, digit = seen.max(1)
        found = len(digit[confidence > 0.5].unique())
        print(f"  {name:8} {found:2} digits, mean confidence {confidence.mean():.3f}")
    print(f"drawn       {options.out / 'samples.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
