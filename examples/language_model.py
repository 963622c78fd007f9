"""A small GPT that learns English from what Python says about itself, character by character.

python examples/language_model.py                                # one process
python examples/language_model.py --devices 2 --strategy ddp     # or fsdp: the same losses
python examples/language_model.py --compile
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

import pytorch_lightning as pl
from pytorch_lightning.callbacks import LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger

PAD = 0
LONGEST = 128  # characters of a line


class Text(pl.LightningDataModule):
    """Paragraphs, cut into ragged lines of at most 128 characters; one topic in ten is held out."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        texts = {"train": [], "val": []}
        for number, name in enumerate(sorted(topics)):
            kind = "val" if number % 10 == 0 else "train"
            texts[kind] += [" ".join(part.split()) for part in topics[name].split("\n\n")]
        alphabet = sorted(set("".join(texts["train"])))
        self.numbers = {character: number for number, character in enumerate(alphabet, start=2)}
        self.train, self.val = (self.lines(texts[kind]) for kind in ("train", "val"))

    @property
    def size(self) -> int:
        """Of the alphabet: 0 pads, 1 is unknown."""
        return len(self.numbers) + 2

    def lines(self, texts: list[str]) -> list[Tensor]:
        """Numbers of characters; the first of each line is the space before it."""
        cut = [text[at : at + LONGEST] for text in texts for at in range(0, len(text), LONGEST)]
        long = [" " + line for line in cut if len(line) > 8]
        return [torch.tensor([self.numbers.get(c, 1) for c in line]) for line in long]

    @staticmethod
    def padded(lines: list[Tensor]) -> Tensor:
        """Lines of different lengths as one batch of shape (lines, longest)."""
        return nn.utils.rnn.pad_sequence(lines, batch_first=True, padding_value=PAD)

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer  # any number of processes is dealt the same order
        dealt = DistributedSampler(self.train, trainer.world_size, trainer.global_rank)
        return DataLoader(self.train, self.batch_size, sampler=dealt, collate_fn=self.padded)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.val, 64, collate_fn=self.padded)


class Block(nn.Module):
    """Attention to what came before, then two layers for each character."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for last in (self.out, self.narrow):  # so that a new block changes nothing
            nn.init.zeros_(last.weight)

    def forward(self, x: Tensor) -> Tensor:
        count, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(count, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(count, length, width))
        return x + self.narrow(self.widen(self.norm2(x)).relu().square())


class LitGPT(pl.LightningModule):
    """Predicts each next character; the loss is a sum and the number of characters in it."""

    def __init__(
        self, size: int, width: int = 128, depth: int = 2, learning_rate: float = 4e-3
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.learning_rate = learning_rate
        self.characters, self.places = nn.Embedding(size, width), nn.Embedding(LONGEST + 1, width)
        self.near = nn.Conv1d(width, width, 4)  # mixes a character with the three before it
        self.blocks = nn.Sequential(*(Block(width, 4) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.characters.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, lines: Tensor) -> Tensor:
        places = torch.arange(lines.shape[1], device=lines.device)
        x = self.characters(lines)
        x = x + self.near(F.pad(x.mT, (3, 0))).mT + self.places(places)
        return F.linear(self.norm(self.blocks(x)), self.characters.weight)

    def loss(self, lines: Tensor) -> tuple[Tensor, Tensor]:
        """The sum over all characters, and their number."""
        logits, wanted = self(lines[:, :-1]), lines[:, 1:]
        total = F.cross_entropy(logits.mT, wanted, ignore_index=PAD, reduction="sum")
        return total, (wanted != PAD).sum()

    def training_step(self, lines: Tensor, batch_idx: int) -> dict[str, Tensor]:
        loss, count = self.loss(lines)
        total, number = self.all_gather(torch.stack([loss.detach(), count])).view(-1, 2).sum(0)
        self.log("train_bits", total / number / math.log(2), prog_bar=True)
        return {"loss_sum": loss, "weight": count}

    def validation_step(self, lines: Tensor, batch_idx: int) -> None:
        loss, count = self.loss(lines)
        self.log("val_bits", loss / count / math.log(2), batch_size=int(count), sync_dist=True)

    def configure_optimizers(self) -> dict[str, Any]:
        groups = [{"params": [p for p in self.parameters() if p.dim() > 1], "weight_decay": 0.1}]
        groups += [{"params": [p for p in self.parameters() if p.dim() <= 1], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, self.learning_rate, betas=(0.9, 0.99))
        steps = self.trainer.max_steps

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / 50)
            return warm * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, step / steps))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def write(model: LitGPT, text: Text, start: str, count: int) -> str:
    """What the model goes on with."""
    letters = {number: letter for letter, number in text.numbers.items()}
    line = torch.tensor([[text.numbers[c] for c in " " + start]])
    for _ in range(count):
        odds = model(line[:, -LONGEST:])[0, -1, 2:].div(0.7).softmax(0)
        line = torch.cat([line, 2 + odds.multinomial(1)[None]], 1)
    return "".join(letters[int(number)] for number in line[0, 1:])


def unigram_bits(text: Text) -> float:
    """What knowing how often each character comes is worth, held out."""
    train, val = (torch.cat([line[1:] for line in lines]) for lines in (text.train, text.val))
    counts = train.bincount(minlength=text.size) + 1.0
    return float(-(counts / counts.sum()).log2()[val].mean())


def main(arguments: list[str] | None = None) -> int:
    """Train by steps, measure held-out bits, write a line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=1400)
    parser.add_argument("--accumulate", type=int, default=1, help="batches for each step")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("demo/language"))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    pl.seed_everything(options.seed)
    torch.set_num_threads(1)
    text = Text(8 // options.accumulate // options.devices)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=options.devices,
        strategy=options.strategy,
        max_steps=options.steps,
        accumulate_grad_batches=options.accumulate,
        gradient_clip_val=1.0,
        val_check_interval=200 * options.accumulate,
        check_val_every_n_epoch=None,
        log_every_n_steps=10,
        logger=CSVLogger(options.out),
        callbacks=[LearningRateMonitor()],
    )
    model = LitGPT(text.size)
    trainer.fit(torch.compile(model) if options.compile else model, datamodule=text)
    (scores,) = trainer.validate(model, datamodule=text, verbose=False)
    with torch.no_grad():  # by all processes: each may hold a part of the model only
        line = write(model.eval(), text, "The class ", 100)
    if trainer.is_global_zero:
        print(f"\nbits for each of {sum(len(line) - 1 for line in text.val)} held-out characters")
        print(f"  how often it comes  {unigram_bits(text):.3f}")
        print(f"  GPT                 {scores['val_bits']:.3f}")
        print(f"it writes   {line!r}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
