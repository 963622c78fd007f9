"""What a step of several ranks costs on top of a hand-written script; print a table in markdown.

    python benchmarks/ranks.py

Two gloo processes, one thread each, a model with its batches in memory. Bursts of the trainer and
of the script take turns inside one run, on both ranks at once; the figure is the CPU time of the
main thread per step, and the median of the differences that the pairs give.
"""

import argparse
import statistics
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import pytorch_lightning as pl
from pytorch_lightning.fabric import Fabric

BATCH = 16


def network() -> nn.Module:
    """32 -> 2, the smallest model that is trained at all."""
    torch.manual_seed(0)
    return nn.Linear(32, 2)


def batch() -> torch.Tensor:
    """One batch; all steps take it."""
    return torch.ones(BATCH, 32)


class Module(pl.LightningModule):
    """The same under the trainer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = network()

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        """The mean of the squares."""
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class Net(nn.Module):
    """The same by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = network()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """The mean of the squares."""
        loss: torch.Tensor = self.layer(batch).pow(2).mean()
        return loss


class Script:
    """The loop by hand."""

    def __init__(self) -> None:
        self.model = DistributedDataParallel(Net())
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        self.batch = batch()

    def run(self, steps: int) -> None:
        """So many steps."""
        model, optimizer, inputs = self.model, self.optimizer, self.batch
        for _ in range(steps):
            optimizer.zero_grad()
            model(inputs).backward()
            optimizer.step()


class Bursts(pl.Callback):
    """Times `steps` steps of the trainer, then as many of the script, again and again."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.script: Script | None = None
        self.begun = 0.0
        self.pairs: list[tuple[float, float]] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        """A burst begins."""
        if batch_idx % self.steps == 0:
            dist.barrier()
            self.begun = time.thread_time()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:  # type: ignore[no-untyped-def]
        """A burst of the trainer ends: that of the script follows."""
        if (batch_idx + 1) % self.steps:
            return
        ours = time.thread_time() - self.begun
        if self.script is None:
            self.script = Script()
            self.script.run(self.steps)
        dist.barrier()
        begun = time.thread_time()
        self.script.run(self.steps)
        by_hand = time.thread_time() - begun
        self.pairs.append((ours / self.steps * 1e6, by_hand / self.steps * 1e6))


def measure(fabric: Fabric, rounds: int, steps: int) -> list[tuple[float, float]]:
    """In each process; the pairs of microseconds of rank 0."""
    torch.set_num_threads(1)
    bursts = Bursts(steps)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        callbacks=[bursts],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), [batch()] * (rounds + 1) * steps)
    return bursts.pairs[1:]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    pairs = fabric.launch(measure, given.rounds, given.steps)
    added = [ours - by_hand for ours, by_hand in pairs]
    by_hand = statistics.median(pair[1] for pair in pairs)
    quarters = statistics.quantiles(added, n=4)
    print("| | aim | added per step | by hand |")
    print("|---|---|---|---|")
    print(
        f"| step of 2 gloo ranks, Linear 32->2, SGD | 15 us | {statistics.median(added):+.1f} us "
        f"({quarters[0]:+.1f} to {quarters[2]:+.1f}) | {by_hand:.1f} us |"
    )


if __name__ == "__main__":
    main()
