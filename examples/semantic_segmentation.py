"""Label each pixel of a scene with the digit it belongs to, by a U-Net.

python examples/semantic_segmentation.py                # scenes composed of digits
python examples/semantic_segmentation.py --data pets    # needs torchvision and a network
"""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import interpolate as resize
from torch.utils.data import DataLoader, Dataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

SIZE = 32


class Scenes(Dataset[tuple[Tensor, Tensor]]):
    """Four digits each on a noisy ground; the mask is exact: 0 is ground, digit d is d + 1."""

    def __init__(self, images: Tensor, labels: Tensor, count: int, seed: int) -> None:
        self.images, self.labels, self.count, self.seed = images, labels, count, seed

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.seed + index)
        scene = torch.rand(SIZE, SIZE, generator=generator) * 0.3
        mask = torch.zeros(SIZE, SIZE, dtype=torch.long)
        for corner in range(4):
            chosen = int(torch.randint(len(self.images), (), generator=generator))
            size = int(torch.randint(10, 15, (), generator=generator))
            digit = resize(self.images[chosen][None, None], (size, size), mode="bilinear")[0, 0]
            row, column = torch.randint(SIZE // 2 - size + 1, (2,), generator=generator).tolist()
            row, column = row + SIZE // 2 * (corner // 2), column + SIZE // 2 * (corner % 2)
            place = (slice(row, row + size), slice(column, column + size))
            scene[place] = torch.maximum(scene[place], digit)
            mask[place][digit > 0.4] = self.labels[chosen] + 1
        return scene[None], mask


class UNet(nn.Module):
    """Down, and up again with what was seen on the way down."""

    def __init__(self, channels: int, classes: int, width: int = 24) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList(map(block, [channels, *widths[:-1]], widths))
        wider = [a + b for a, b in pairwise(widths)]
        self.up = nn.ModuleList(map(block, wider[::-1], widths[-2::-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        seen = []
        for down in self.down:
            x = down(F.max_pool2d(x, 2) if seen else x)
            seen.append(x)
        for up, before in zip(self.up, seen[-2::-1], strict=True):
            x = up(torch.cat([resize(x, scale_factor=2), before], 1))
        return self.head(x)


def block(channels: int, width: int) -> nn.Sequential:
    """Two convolutions."""
    layers = []
    for a in (channels, width):
        layers += [nn.Conv2d(a, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


class LitSegmentation(pl.LightningModule):
    """A U-Net; what it logs is the mean over classes of intersection over union."""

    def __init__(self, channels: int = 1, classes: int = 11, learning_rate: float = 4e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = UNet(channels, classes)
        self.register_buffer("confusion", torch.zeros(classes, classes), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = F.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.confusion += confusion(self(batch[0]).argmax(1), batch[1], len(self.confusion))

    def on_validation_epoch_end(self) -> None:
        counts = self.all_gather(self.confusion).reshape(-1, *self.confusion.shape).sum(0)
        self.log("val_iou", mean_iou(counts), prog_bar=True)
        self.confusion.zero_()

    def configure_optimizers(self) -> dict[str, Any]:
        steps, rate = int(self.trainer.estimated_stepping_batches), self.hparams.learning_rate
        optimizer = torch.optim.AdamW(self.parameters(), rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def confusion(found: Tensor, wanted: Tensor, classes: int) -> Tensor:
    """How many pixels of each class (row) were given each class (column)."""
    pairs = wanted.flatten() * classes + found.flatten()
    return pairs.bincount(minlength=classes**2).view(classes, classes).float()


def mean_iou(counts: Tensor) -> Tensor:
    """The mean over classes of intersection over union."""
    both = counts.diagonal()
    return (both / (counts.sum(0) + counts.sum(1) - both).clamp(min=1)).mean()


def load_pets(folder: Path) -> list[Dataset[Any]]:
    """Photos of 64x64 pixels: animal, ground and the edge between."""
    from torchvision import datasets, transforms

    small = transforms.Resize((64, 64), transforms.InterpolationMode.NEAREST)
    to_classes = transforms.Lambda(lambda m: transforms.PILToTensor()(m)[0].long() - 1)
    photo, mask = (transforms.Compose([small, t]) for t in (transforms.ToTensor(), to_classes))
    options = {"transform": photo, "target_transform": mask, "download": True}
    pets = datasets.OxfordIIITPet
    return [pets(folder, part, "segmentation", **options) for part in ("trainval", "test")]


def load(name: str, folder: Path) -> tuple[Dataset[Any], Dataset[Any], int, int]:
    """Training and held-out scenes, channels and classes; no digit is in both."""
    if name == "pets":
        return *load_pets(folder), 3, 3
    from sklearn.datasets import load_digits

    images, labels = map(torch.tensor, (load_digits().images / 16, load_digits().target))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    held_out, training = torch.tensor_split(order, [400])
    train = Scenes(images[training].float(), labels[training], 2000, seed=0)
    return train, Scenes(images[held_out].float(), labels[held_out], 400, seed=10**6), 1, 11


def draw(model: LitSegmentation, data: Dataset[Any], path: Path) -> None:
    """Scenes, true masks and what was found."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6))
    for column in range(6):
        scene, mask = data[column]
        found = model(scene[None]).argmax(1)[0]
        for row, image in enumerate((scene, mask, found)):
            axes = figure.add_subplot(3, 6, 6 * row + column + 1)
            axes.imshow(scene.mean(0).numpy(), cmap="gray_r")
            if row:
                axes.imshow(image.numpy(), cmap="tab20", vmin=0, vmax=19, alpha=0.7)
            axes.set_axis_off()
    figure.savefig(path, dpi=100)


def main(arguments: list[str] | None = None) -> int:
    """Train, reload the best, compare, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["digits", "pets"], default="digits")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("demo/segmentation"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    try:
        train, val, channels, classes = load(options.data, options.out / "data")
    except Exception as failure:
        reason = str(failure).partition("\n")[0]
        print(f"`--data {options.data}` cannot be loaded here: {reason}", file=sys.stderr)
        return 2
    best = ModelCheckpoint(monitor="val_iou", mode="max")
    run = {"max_epochs": options.epochs, "logger": CSVLogger(options.out), "callbacks": [best]}
    trainer = pl.Trainer(accelerator="cpu", **run)
    held_out = DataLoader(val, 100)
    trainer.fit(LitSegmentation(channels, classes), DataLoader(train, 32, shuffle=True), held_out)
    model = LitSegmentation.load_from_checkpoint(best.best_model_path).eval().requires_grad_(False)
    ground = sum(confusion(torch.zeros_like(masks), masks, classes) for _, masks in held_out)
    print(f"\nmean intersection over union of {classes} classes on {len(val)} held-out scenes")
    print(f"  always the ground  {mean_iou(ground):.3f}")
    print(f"  U-Net              {best.best_model_score:.3f}")
    draw(model, val, options.out / "scenes.png")
    print(f"drawn       {options.out / 'scenes.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
