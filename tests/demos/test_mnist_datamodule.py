"""MNIST from files in its own format."""

import gzip

import pytest
import torch

from pytorch_lightning.demos.mnist_datamodule import MNIST, MNISTDataModule


def idx(values):
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return b"\0\0\x08" + bytes([values.dim()]) + sizes + bytes(values.flatten().tolist())


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 10), ("t10k", 4)):
        images = (torch.arange(count * 28 * 28) % 256).view(count, 28, 28)
        (raw / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(idx(torch.arange(count)))
    return tmp_path


def test_digits(folder):
    digits = MNIST(str(folder), normalize=None)
    assert len(digits) == 10
    image, label = digits[3]
    assert image.shape == (1, 28, 28)
    assert label == 3
    assert image.min() == 0
    assert image.max() == 1
    normalized, _ = MNIST(str(folder), train=False)[0]
    assert torch.allclose(normalized.min(), torch.tensor(-0.1307 / 0.3081))


def test_datamodule(folder):
    data = MNISTDataModule(str(folder), val_split=4, num_workers=0, batch_size=2)
    data.prepare_data()
    data.setup("fit")
    assert data.num_classes == 10
    labels = [int(y) for loader in (data.train_dataloader(), data.val_dataloader())
              for _, batch in loader for y in batch]  # fmt: skip
    assert sorted(labels) == list(range(10))
    assert len(data.test_dataloader()) == 2


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        MNISTDataModule(str(tmp_path)).prepare_data()


def test_a_file_of_another_kind(folder):
    (folder / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(b"hello")
    with pytest.raises(ValueError, match="no IDX file"):
        MNIST(str(folder))
