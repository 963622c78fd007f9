"""A transformer that continues a text."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.demos.text import WikiText2

__all__ = ["LightningTransformer", "Transformer", "WikiText2"]


class Transformer(nn.Module):
    """Encoder and decoder over word numbers, with log-probabilities of the next word."""

    def __init__(
        self,
        vocab_size: int = 33278,
        ninp: int = 200,
        nhead: int = 2,
        nhid: int = 200,
        nlayers: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.pos_encoder = PositionalEncoding(ninp, dropout)
        self.embedding = nn.Embedding(vocab_size, ninp)
        self.transformer = nn.Transformer(
            d_model=ninp,
            nhead=nhead,
            num_encoder_layers=nlayers,
            num_decoder_layers=nlayers,
            dim_feedforward=nhid,
            dropout=dropout,
            batch_first=True,
        )
        self.decoder = nn.Linear(ninp, vocab_size)
        self.ninp = ninp
        self.vocab_size = vocab_size

    def generate_square_subsequent_mask(self, size: int) -> Tensor:
        """Minus infinity where a word would look at later ones."""
        return torch.triu(torch.full((size, size), float("-inf")), diagonal=1)

    def forward(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Log-probabilities, one row for each word of each sample."""
        if mask is None:
            mask = self.generate_square_subsequent_mask(inputs.shape[1]).to(inputs.device)
        scale = math.sqrt(self.ninp)
        source = self.pos_encoder(self.embedding(inputs) * scale)
        known = self.pos_encoder(self.embedding(target) * scale)
        output = self.decoder(self.transformer(source, known, tgt_mask=mask))
        return F.log_softmax(output, dim=-1).view(-1, self.vocab_size)


class PositionalEncoding(nn.Module):
    """Adds sines and cosines of the position to the embedding."""

    pe: Tensor

    def __init__(self, dim: int, dropout: float = 0.1, max_len: int = 5000) -> None:
        super().__init__()
        self.dropout = nn.Dropout(p=dropout)
        position = torch.arange(max_len).unsqueeze(1)
        rate = torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        encoding = torch.zeros(max_len, dim)
        encoding[:, 0::2] = torch.sin(position * rate)
        encoding[:, 1::2] = torch.cos(position * rate)[:, : dim // 2]
        self.register_buffer("pe", encoding, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the positions of a batch of sequences."""
        output: Tensor = self.dropout(x + self.pe[: x.size(1)])
        return output


class LightningTransformer(LightningModule):
    """Trains a `Transformer` on a small text."""

    def __init__(self, vocab_size: int = 33278) -> None:
        super().__init__()
        self.model = Transformer(vocab_size=vocab_size)

    def forward(self, inputs: Tensor, target: Tensor) -> Tensor:
        """Log-probabilities of the next words."""
        output: Tensor = self.model(inputs, target)
        return output

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Negative log-likelihood."""
        inputs, target = batch
        return F.nll_loss(self(inputs, target), target.view(-1))

    def configure_optimizers(self) -> Optimizer:
        """SGD."""
        return torch.optim.SGD(self.model.parameters(), lr=0.1)

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """The text in blocks of 35 words."""
        return DataLoader(WikiText2())
