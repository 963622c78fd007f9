"""Tokens per second of a small GPT under the trainer and by hand, in interleaved pairs.

    python benchmarks/gpt.py                       # a GPU where there is one
    python benchmarks/gpt.py --compile
    python benchmarks/gpt.py --device cpu --width 64 --layers 2 --steps 5

Precision bf16. Each pair runs as many steps of the trainer as of the loop by hand, one after the
other in one run; the figure is the median of the ratios with its 95 % interval.
"""

import argparse
import random
import statistics
import time

import torch
from torch import nn

import pytorch_lightning as pl

VOCABULARY = 4096


class Block(nn.Module):
    """Attention and a feed-forward layer, each with its norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // 64, 1)
        self.norm, self.norm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mix, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (batch, tokens, width), in and out."""
        batch, tokens, width = x.shape
        parts = self.mix(self.norm(x)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.feed(self.norm_after(x))


class GPT(pl.LightningModule):
    """The smallest of its kind."""

    def __init__(self, width: int, layers: int, length: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(layers)))
        self.head = nn.Linear(width, VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of shape (batch, length) to the loss of the next ones."""
        places = torch.arange(tokens.shape[1] - 1, device=tokens.device)
        logits = self.head(self.blocks(self.embed(tokens[:, :-1]) + self.place(places)))
        return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """The loss, logged as users do."""
        loss: torch.Tensor = self(batch)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-4)


class Pairs(pl.Callback):
    """After `steps` steps of the trainer, as many by hand."""

    def __init__(self, model: nn.Module, given: argparse.Namespace) -> None:
        self.model, self.given = model, given
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
        self.begun = 0.0
        self.found: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        """A burst begins."""
        if batch_idx % self.given.steps == 0:
            wait(self.given.device)
            self.begun = time.perf_counter()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        """A burst ends."""
        if (batch_idx + 1) % self.given.steps:
            return
        wait(self.given.device)
        ours = time.perf_counter() - self.begun
        begun = time.perf_counter()
        for _ in range(self.given.steps):
            self.optimizer.zero_grad()
            with torch.autocast(self.given.device, dtype=torch.bfloat16):
                loss = self.model(batch)
            loss.backward()
            self.optimizer.step()
        wait(self.given.device)
        self.found.append((ours, time.perf_counter() - begun))


def wait(device: str) -> None:
    """Until the device has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def interval(ratios: list[float]) -> tuple[float, float]:
    """The middle 95 % of the medians of 2,000 samples with replacement."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(ratios, k=len(ratios))) for _ in range(2000))
    return medians[50], medians[1949]


def main() -> None:
    """Measure, and print one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=9)
    given = parser.parse_args()
    torch.manual_seed(0)
    size = (given.width, given.layers, given.length)
    by_hand, module = GPT(*size).to(given.device), GPT(*size)
    model = torch.compile(by_hand) if given.compile else by_hand
    pairs = Pairs(model, given)
    tokens = torch.randint(VOCABULARY, (given.batch, given.length), device=given.device)
    trainer = pl.Trainer(
        accelerator=given.device,
        devices=1,
        precision="bf16-mixed",
        max_epochs=1,
        callbacks=[pairs],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    fitted = torch.compile(module) if given.compile else module
    trainer.fit(fitted, [tokens] * given.steps * (given.pairs + 1))
    found = pairs.found[1:]
    ratios = [hand / ours for ours, hand in found]
    low, high = interval(ratios)
    rate = given.batch * given.length * given.steps / statistics.median(p[0] for p in found)
    print(
        f"{given.device}, {'compiled' if given.compile else 'eager'}: {rate:,.0f} tokens/s, "
        f"{100 * statistics.median(ratios):.2f} % of the loop by hand "
        f"({100 * low:.2f} to {100 * high:.2f}, {len(found)} pairs)"
    )


if __name__ == "__main__":
    main()
