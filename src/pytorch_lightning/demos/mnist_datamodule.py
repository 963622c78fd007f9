"""MNIST from files that are already there, without torchvision."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, random_split

from pytorch_lightning.core.datamodule import LightningDataModule

__all__ = ["MNIST", "MNISTDataModule"]

_MEAN_AND_DEVIATION = (0.1307, 0.3081)


class MNIST(Dataset[tuple[Tensor, int]]):
    """Digits and their labels, read from the four files that MNIST is published in.

    Args:
        root: Holds `MNIST/raw/train-images-idx3-ubyte` and its like, or these directly; `.gz`
            is read, too. This is where torchvision puts them.
        normalize: Mean and deviation to normalize by.
        download: Accepted for older programs; nothing is downloaded.

    Raises:
        FileNotFoundError: If the files are not there.
    """

    def __init__(
        self,
        root: str,
        train: bool = True,
        normalize: tuple[float, float] | None = _MEAN_AND_DEVIATION,
        download: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        part = "train" if train else "t10k"
        self.normalize = normalize
        self.data = _read_idx(_find(root, f"{part}-images-idx3-ubyte"))
        self.targets = _read_idx(_find(root, f"{part}-labels-idx1-ubyte")).long()

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.data[index].float().unsqueeze(0) / 255
        if self.normalize is not None:
            mean, deviation = self.normalize
            image = (image - mean) / deviation
        return image, int(self.targets[index])

    def __len__(self) -> int:
        return len(self.data)


def _find(root: str, name: str) -> Path:
    places = [Path(root) / "MNIST" / "raw", Path(root)]
    for place in places:
        for path in (place / name, place / f"{name}.gz"):
            if path.exists():
                return path
    raise FileNotFoundError(
        f"MNIST needs {name!r} (or {name}.gz) in {str(places[0])!r}. Nothing is downloaded: put "
        "the four files there, or let `torchvision.datasets.MNIST(root, download=True)` do it."
    )


def _read_idx(path: Path) -> Tensor:
    """Read the IDX format: two zeros, type 8 (bytes), number of axes, their sizes, the bytes."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"{str(path)!r} is no IDX file of bytes.")
    axes = content[3]
    start = 4 + 4 * axes
    sizes = [int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4)]
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(*sizes)


class MNISTDataModule(LightningDataModule):
    """MNIST, with a part of the training digits held out for validation."""

    name = "mnist"

    def __init__(
        self,
        data_dir: str = "./data",
        val_split: int = 5000,
        num_workers: int = 16,
        normalize: bool = False,
        seed: int = 42,
        batch_size: int = 32,
    ) -> None:
        super().__init__()
        self.data_dir = data_dir
        self.val_split = val_split
        self.num_workers = num_workers
        self.normalize = normalize
        self.seed = seed
        self.batch_size = batch_size

    @property
    def num_classes(self) -> int:
        """Ten digits."""
        return 10

    def prepare_data(self) -> None:
        """Make sure that all files can be read."""
        MNIST(self.data_dir, train=True)
        MNIST(self.data_dir, train=False)

    def setup(self, stage: str) -> None:
        """Split the training digits, always in the same way."""
        normalize = _MEAN_AND_DEVIATION if self.normalize else None
        digits = MNIST(self.data_dir, train=True, normalize=normalize)
        generator = torch.Generator().manual_seed(self.seed)
        sizes = [len(digits) - self.val_split, self.val_split]
        self.dataset_train, self.dataset_val = random_split(digits, sizes, generator=generator)

    def default_transforms(self) -> Callable[[Any], Any] | None:
        """None: digits come as tensors from 0 to 1, normalized where asked."""
        return None

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled, without a smaller last batch."""
        return self._loader(self.dataset_train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """The digits that were held out."""
        return self._loader(self.dataset_val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The digits published for testing."""
        normalize = _MEAN_AND_DEVIATION if self.normalize else None
        return self._loader(MNIST(self.data_dir, train=False, normalize=normalize))

    def _loader(self, dataset: Dataset[Any], *, shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            num_workers=self.num_workers,
            drop_last=shuffle,
            pin_memory=torch.cuda.is_available(),
        )
