"""The smallest module and data there are, for tests and bug reports."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from pytorch_lightning.core.datamodule import LightningDataModule
from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.utilities.types import STEP_OUTPUT

_WIDTH = 32
_LENGTH = 64


class RandomDataset(Dataset[Tensor]):
    """Rows of random numbers."""

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> Tensor:
        return self.data[index]

    def __len__(self) -> int:
        return self.len


class RandomDictDataset(Dataset[dict[str, Tensor]]):
    """Rows of random numbers under 'a', and the same plus two under 'b'."""

    def __init__(self, size: int, length: int) -> None:
        self.len = length
        self.data = torch.randn(length, size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        row = self.data[index]
        return {"a": row, "b": row + 2}

    def __len__(self) -> int:
        return self.len


class RandomIterableDataset(IterableDataset[Tensor]):
    """A stream of random rows."""

    def __init__(self, size: int, count: int) -> None:
        self.count = count
        self.size = size

    def __iter__(self) -> Iterator[Tensor]:
        for _ in range(self.count):
            yield torch.randn(self.size)


class RandomIterableDatasetWithLen(RandomIterableDataset):
    """A stream of random rows that says how long it is."""

    def __len__(self) -> int:
        return self.count


class BoringModel(LightningModule):
    """One linear layer and all steps; its loss pulls the outputs towards one.

    Example:
        >>> loss = BoringModel().training_step(torch.ones(4, 32), 0)["loss"]
        >>> loss.shape
        torch.Size([])
    """

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(_WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        output: Tensor = self.layer(x)
        return output

    def loss(self, preds: Tensor, labels: Tensor | None = None) -> Tensor:
        """Mean squared distance to the labels, or to ones."""
        return nn.functional.mse_loss(preds, torch.ones_like(preds) if labels is None else labels)

    def step(self, batch: Any) -> Tensor:
        """The loss of a batch."""
        return self.loss(self(batch))

    def training_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        """The loss, as a mapping."""
        return {"loss": self.step(batch)}

    def validation_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        """The loss, under 'x'."""
        return {"x": self.step(batch)}

    def test_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        """The loss, under 'y'."""
        return {"y": self.step(batch)}

    def configure_optimizers(
        self,
    ) -> tuple[list[Optimizer], list[torch.optim.lr_scheduler.LRScheduler]]:
        """SGD, and a scheduler that steps every epoch."""
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)]

    def train_dataloader(self) -> DataLoader[Tensor]:
        """64 random rows, one by one."""
        return DataLoader(RandomDataset(_WIDTH, _LENGTH))

    def val_dataloader(self) -> DataLoader[Tensor]:
        """64 random rows, one by one."""
        return DataLoader(RandomDataset(_WIDTH, _LENGTH))

    def test_dataloader(self) -> DataLoader[Tensor]:
        """64 random rows, one by one."""
        return DataLoader(RandomDataset(_WIDTH, _LENGTH))

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """64 random rows, one by one."""
        return DataLoader(RandomDataset(_WIDTH, _LENGTH))


class ManualOptimBoringModel(BoringModel):
    """The same, optimized by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> STEP_OUTPUT:
        """One step of the only optimizer."""
        optimizer: Any = self.optimizers()
        loss = self.step(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return loss


class DemoModel(LightningModule):
    """One layer with arguments, without evaluation."""

    def __init__(self, out_dim: int = 10, learning_rate: float = 0.02) -> None:
        super().__init__()
        self.l1 = nn.Linear(_WIDTH, out_dim)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to flattened rows."""
        return torch.relu(self.l1(x.view(x.size(0), -1)))

    def training_step(self, batch: Any, batch_nb: int) -> STEP_OUTPUT:
        """The sum of all outputs."""
        output: Tensor = self(batch)
        return output.sum()

    def configure_optimizers(self) -> Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class BoringDataModule(LightningDataModule):
    """A quarter of 256 random rows for each stage."""

    def __init__(self) -> None:
        super().__init__()
        self.random_full = RandomDataset(_WIDTH, _LENGTH * 4)

    def setup(self, stage: str) -> None:
        """Cut out the rows of a stage."""
        if stage == "fit":
            self.random_train = self._quarter(0)
        if stage in ("fit", "validate"):
            self.random_val = self._quarter(1)
        if stage == "test":
            self.random_test = self._quarter(2)
        if stage == "predict":
            self.random_predict = self._quarter(3)

    def _quarter(self, index: int) -> Subset[Tensor]:
        return Subset(self.random_full, range(_LENGTH * index, _LENGTH * (index + 1)))

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Rows 0 to 63."""
        return DataLoader(self.random_train)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """Rows 64 to 127."""
        return DataLoader(self.random_val)

    def test_dataloader(self) -> DataLoader[Tensor]:
        """Rows 128 to 191."""
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """Rows 192 to 255."""
        return DataLoader(self.random_predict)


class BoringDataModuleNoLen(LightningDataModule):
    """Streams that do not say how long they are."""

    def setup(self, stage: str) -> None:
        """Make the streams of a stage."""
        if stage == "fit":
            self.random_train = RandomIterableDataset(_WIDTH, 512)
        if stage in ("fit", "validate"):
            self.random_val = RandomIterableDataset(_WIDTH, 128)
        if stage == "test":
            self.random_test = RandomIterableDataset(_WIDTH, 256)
        if stage == "predict":
            self.random_predict = RandomIterableDataset(_WIDTH, 64)

    def train_dataloader(self) -> DataLoader[Tensor]:
        """512 rows."""
        return DataLoader(self.random_train)

    def val_dataloader(self) -> DataLoader[Tensor]:
        """128 rows."""
        return DataLoader(self.random_val)

    def test_dataloader(self) -> DataLoader[Tensor]:
        """256 rows."""
        return DataLoader(self.random_test)

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """64 rows."""
        return DataLoader(self.random_predict)


class IterableBoringDataModule(LightningDataModule):
    """Two loaders for each stage: a data set and a stream of the same length."""

    def setup(self, stage: str) -> None:
        """Make the data of a stage."""
        if stage == "fit":
            self.train_datasets = _pair(16)
        if stage in ("fit", "validate"):
            self.val_datasets = _pair(32)
        if stage == "test":
            self.test_datasets = _pair(64)
        if stage == "predict":
            self.predict_datasets = _pair(128)

    def train_dataloader(self) -> Iterable[DataLoader[Tensor]]:
        """Two loaders of 16 rows."""
        return [DataLoader(dataset) for dataset in self.train_datasets]

    def val_dataloader(self) -> Iterable[DataLoader[Tensor]]:
        """Two loaders of 32 rows."""
        return [DataLoader(dataset) for dataset in self.val_datasets]

    def test_dataloader(self) -> Iterable[DataLoader[Tensor]]:
        """Two loaders of 64 rows."""
        return [DataLoader(dataset) for dataset in self.test_datasets]

    def predict_dataloader(self) -> Iterable[DataLoader[Tensor]]:
        """Two loaders of 128 rows."""
        return [DataLoader(dataset) for dataset in self.predict_datasets]


def _pair(length: int) -> list[Dataset[Tensor]]:
    return [RandomDataset(4, length), RandomIterableDataset(4, length)]
