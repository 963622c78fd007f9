"""A small corpus that every Python brings along, as numbers."""

from pathlib import Path
from pydoc_data.topics import topics

import torch
from torch import Tensor
from torch.utils.data import Dataset


class WikiText2(Dataset[tuple[Tensor, Tensor]]):
    """Words of running English text, and the same words one place later.

    A stand-in under the documented name: the text is Python's own manual, so that nothing has
    to be downloaded. `data_dir` may hold a `wiki.train.tokens` to be read instead.

    Args:
        block_size: Words per sample.
        download: Accepted for older programs; nothing is downloaded.
    """

    def __init__(
        self, data_dir: Path = Path("data"), block_size: int = 35, download: bool = True
    ) -> None:
        path = Path(data_dir) / "wiki.train.tokens"
        text = path.read_text("utf-8") if path.exists() else " ".join(topics.values())
        words = text.split()
        self.block_size = block_size
        self.vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
        self.data = torch.tensor([self.vocabulary[word] for word in words])

    @property
    def vocab_size(self) -> int:
        """How many different words there are."""
        return len(self.vocabulary)

    def __len__(self) -> int:
        return (len(self.data) - 1) // self.block_size

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        start = index * self.block_size
        end = start + self.block_size
        return self.data[start:end], self.data[start + 1 : end + 1]
