"""What saving in the background costs: how long training stops, and how much memory it takes.

    python benchmarks/async_save.py [--megabytes 200] [--saves 7] [--device cpu] [--parts]
                                    [--ranks 1]

A model of that many megabytes of parameters is trained with Adam, so that a checkpoint has three
times as many, and saved now and then while the writer is idle. Beside each stop stands one copy of
the same tensors into memory that is there already, which is the least it can take. With several
ranks each has its part of the tensors, and all of them copy at the same time.
"""

import argparse
import gc
import os
import shutil
import statistics
import tempfile
import threading
import time

import torch

import pytorch_lightning as pl
from pytorch_lightning.checkpoint.atomic import remove_path
from pytorch_lightning.plugins.io import AsyncCheckpointIO
from pytorch_lightning.strategies import FSDPStrategy

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Model(pl.LightningModule):
    """Matrices of 4 MB, each of them used."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        count = megabytes // 4
        self.layers = torch.nn.ParameterList(torch.randn(1024, 1024) / 32 for _ in range(count))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return sum((batch @ layer).square().mean() for layer in self.layers)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-4)


class Measure(pl.Callback):
    """Saves after each step, and measures what that takes."""

    def __init__(self, folder: str, io: AsyncCheckpointIO) -> None:
        self.folder, self.io = folder, io
        self.stops: list[float] = []
        self.copies: list[float] = []
        self.work: list[tuple[float, float]] = []
        self.pauses: list[float] = []
        self.writes: list[float] = []
        self.added: list[int] = []
        self.peak = 0

    def on_fit_start(self, trainer, module) -> None:
        self.folder = trainer.strategy.broadcast(self.folder)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        state = tensors_of(trainer)
        copies = [torch.zeros_like(t, device="cpu") for t in state]
        trainer.strategy.barrier()
        begin = time.thread_time()
        self.copies.append(copy_once(state, copies))
        worked = time.thread_time() - begin
        del state, copies
        gc.collect()
        self.peak = before = resident()
        trainer.strategy.barrier()
        begin, begin_work = time.perf_counter(), time.thread_time()
        trainer.save_checkpoint(os.path.join(self.folder, f"{batch_idx}.ckpt"))
        self.stops.append(time.perf_counter() - begin)
        self.work.append((time.thread_time() - begin_work, worked))
        self.pauses.append(self.watch())
        self.writes.append(time.perf_counter() - begin)
        self.added.append(self.peak - before)
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            remove_path(os.path.join(self.folder, f"{batch_idx}.ckpt"))

    def watch(self) -> float:
        """Count until the writer is done; return the longest time that this thread stood still."""
        longest, last, look = 0.0, time.perf_counter(), 0.0
        while self.io.is_busy:
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
            if now > look:
                self.peak, look = max(self.peak, resident()), now + 0.05
                last = time.perf_counter()
        return longest


def tensors_of(trainer: pl.Trainer) -> list[torch.Tensor]:
    optimizer = trainer.optimizers[0]
    moments = [v for state in optimizer.state.values() for v in state.values()]
    every = [p.detach() for p in trainer.lightning_module.parameters()] + moments
    return [getattr(tensor, "to_local", lambda own=tensor: own)() for tensor in every]


def copy_once(sources: list[torch.Tensor], targets: list[torch.Tensor]) -> float:
    begin = time.perf_counter()
    for source, target in zip(sources, targets, strict=True):
        target.copy_(source)
    return time.perf_counter() - begin


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * _PAGE


def report(measure: Measure, state: float) -> None:
    stops, copies = measure.stops[1:], measure.copies[1:]
    ratios = [stop / copy for stop, copy in zip(stops, copies, strict=True)]
    print(f"state                        {state / 2**20:8.0f} MiB")
    print(f"one copy of it               {1e3 * statistics.median(copies):8.1f} ms")
    print(f"stop of the first save       {1e3 * measure.stops[0]:8.1f} ms")
    print(f"stop of later saves          {1e3 * statistics.median(stops):8.1f} ms")
    print(f"stop / copy, median          {statistics.median(ratios):8.2f}")
    print(f"stop / copy, least           {min(stops) / min(copies):8.2f}")
    saving, copying = (min(seconds) for seconds in zip(*measure.work[1:], strict=True))
    print(f"the same in processor time   {saving / copying:8.2f}")
    print(f"longest pause while written  {1e3 * max(measure.pauses[1:]):8.1f} ms")
    print(f"written after                {1e3 * statistics.median(measure.writes[1:]):8.1f} ms")
    print(f"memory added by the first    {measure.added[0] / state:8.2f} copies")
    print(f"memory added by later saves  {max(measure.added[1:]) / state:8.2f} copies", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--parts", action="store_true", help="FSDP, and a folder of parts")
    parser.add_argument("--ranks", type=int, default=1, help="more than one: FSDP, and parts")
    parser.add_argument("--folder", default="/dev/shm" if os.path.isdir("/dev/shm") else None)
    options = parser.parse_args()
    parts = options.parts or options.ranks > 1
    torch.set_num_threads(1)
    folder = tempfile.mkdtemp(dir=options.folder)
    io = AsyncCheckpointIO()
    measure = Measure(folder, io)
    trainer = pl.Trainer(
        accelerator=options.device,
        devices=options.ranks,
        strategy=FSDPStrategy(state_dict_type="sharded") if parts else "auto",
        max_steps=options.saves,
        callbacks=[measure],
        plugins=io,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(Model(options.megabytes), [torch.randn(1, 1024)] * options.saves)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for rank in range(options.ranks):
        trainer.strategy.barrier()
        if rank == trainer.global_rank:
            print(f"rank {rank} of {options.ranks}")
            report(measure, 3 * options.megabytes * 2**20 / options.ranks)
    assert parts or threading.active_count() == 1  # parts: one looks after the group


if __name__ == "__main__":
    main()
