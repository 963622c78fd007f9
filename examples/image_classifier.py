"""Classify handwritten digits: train, keep the best, test it, predict, export to ONNX.

python examples/image_classifier.py                  # 1797 digits that ship with scikit-learn
python examples/image_classifier.py --data mnist     # 70000 digits; needs torchvision and a network
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger


class Digits(pl.LightningDataModule):
    """Grey images with values in [0, 1] and their digits, in three disjoint parts."""

    def __init__(self, name: str = "digits", folder: str = "data", batch_size: int = 64) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.name, self.folder, self.batch_size = name, folder, batch_size

    def prepare_data(self) -> None:
        if self.name == "mnist":
            from torchvision import datasets

            datasets.MNIST(self.folder, download=True)

    def setup(self, stage: str) -> None:
        images, labels = self.load()
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        sixth = len(images) // 6
        parts = torch.tensor_split(order, [sixth, 2 * sixth])
        self.test, self.val, self.train = (TensorDataset(images[p], labels[p]) for p in parts)

    def load(self) -> tuple[Tensor, Tensor]:
        """All images, shape (count, 1, height, width), and labels."""
        if self.name == "mnist":
            from torchvision import datasets

            data = datasets.MNIST(self.folder)
            return data.data[:, None].float() / 255, data.targets
        from sklearn.datasets import load_digits

        scans = load_digits()
        images = torch.tensor(scans.images, dtype=torch.float32)[:, None] / 16
        return images, torch.tensor(scans.target)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, batch_size=500)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=500)

    def predict_dataloader(self) -> DataLoader[Any]:
        return self.test_dataloader()


class LitClassifier(pl.LightningModule):
    """A small convolutional network under a one-cycle schedule."""

    def __init__(self, width: int = 32, learning_rate: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.example_input_array = torch.zeros(2, 1, 8, 8)
        self.net = nn.Sequential(
            *self.block(1, width),
            *self.block(width, 2 * width),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(8 * width, 10),
        )

    @staticmethod
    def block(channels: int, width: int) -> list[nn.Module]:
        """Convolve, normalize, halve."""
        convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        return [convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        x, y = batch
        loss = F.cross_entropy(self(self.shift(x)), y, label_smoothing=0.05)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    @staticmethod
    def shift(x: Tensor) -> Tensor:
        """Move each image by at most a pixel each way."""
        by = torch.randint(0, 3, (len(x), 2), device=x.device)
        rows = torch.arange(x.shape[2], device=x.device) + by[:, :1]
        columns = torch.arange(x.shape[3], device=x.device) + by[:, 1:]
        padded = F.pad(x, (1, 1, 1, 1))
        image = torch.arange(len(x), device=x.device)[:, None, None]
        return padded[image, 0, rows[:, :, None], columns[:, None, :]][:, None]

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")

    def evaluate(self, batch: list[Tensor], stage: str) -> None:
        """Log loss and accuracy, means over all samples."""
        x, y = batch
        logits = self(x)
        self.log(f"{stage}_loss", F.cross_entropy(logits, y))
        self.log(f"{stage}_acc", (logits.argmax(1) == y).float().mean(), prog_bar=True)

    def predict_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        classes: Tensor = self(batch[0]).argmax(1)
        return classes

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(self.parameters(), self.learning_rate, weight_decay=0.01)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.learning_rate, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def exported(model: LitClassifier, images: Tensor, path: Path) -> Tensor | None:
    """The classes that onnxruntime finds with the exported model; None without that package."""
    if importlib.util.find_spec("onnxruntime") is None or not importlib.util.find_spec("onnx"):
        return None
    import onnxruntime

    batch = torch.export.Dim("batch")
    model.to_onnx(path, images[:2], dynamo=True, dynamic_shapes=({0: batch},), verbose=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return torch.from_numpy(logits).argmax(1)


def main(arguments: list[str] | None = None) -> int:
    """Train, test the best checkpoint, predict, export."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", choices=["digits", "mnist"], default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("demo/classifier"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    digits = Digits(options.data, str(options.out / "data"))
    try:
        digits.prepare_data()
    except Exception as failure:
        reason = str(failure).partition("\n")[0]
        print(f"`--data {options.data}` cannot be loaded here: {reason}", file=sys.stderr)
        return 2

    best = ModelCheckpoint(monitor="val_acc", mode="max", filename="{epoch}-{val_acc:.3f}")
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=options.epochs,
        logger=CSVLogger(options.out),
        callbacks=[best],
        log_every_n_steps=10,
    )
    trainer.fit(LitClassifier(), datamodule=digits)
    (scores,) = trainer.test(ckpt_path="best", datamodule=digits)
    predicted = torch.cat(trainer.predict(ckpt_path="best", datamodule=digits))

    images, labels = digits.test.tensors
    most_common = labels.bincount().max() / len(labels)
    print(f"\ncheckpoint  {best.best_model_path}")
    print(f"accuracy on {len(labels)} held-out digits")
    print(f"  always the most common digit  {most_common:.3f}")
    print(f"  classifier                    {scores['test_acc']:.3f}")
    assert (predicted == labels).float().mean().isclose(torch.tensor(scores["test_acc"]))
    model = LitClassifier.load_from_checkpoint(best.best_model_path)
    classes = exported(model, images, options.out / "classifier.onnx")
    if classes is None:
        print("onnx        not exported: pip install onnx onnxscript onnxruntime")
    else:
        print(f"onnx        the same {int((classes == predicted).sum())} of {len(labels)} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
