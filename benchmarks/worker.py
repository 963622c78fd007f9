"""Measure one subject beside the loop by hand, in this interpreter; print JSON."""

import argparse
import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from loads import Clocked
from subjects import SUBJECTS, ByHand, Load, Subject, microseconds_of_add, microseconds_per_batch

HANDMADE = {
    "hand step, linear": (Load(), 2000),
    "hand step, autoencoder": (Load(kind="autoencoder"), 300),
    "hand validate": (Load("validate"), 4000),
    "hand predict": (Load("predict"), 4000),
}
LOADS = {
    "step, linear": (Load(), 2000),
    "step, autoencoder": (Load(kind="autoencoder"), 300),
    "defaults and one log": (Load(logs=1, defaults=True), 1000),
    "20 metrics": (Load(logs=20, on_epoch=True, logger=True), 500),
    "10 values, step": (Load(logs=10), 1000),
    "20 values, step": (Load(logs=20), 1000),
    "10 values, step and epoch": (Load(logs=10, on_epoch=True), 1000),
    "20 values, step and epoch": (Load(logs=20, on_epoch=True), 1000),
    "50 callbacks": (Load(listeners=50), 1000),
    "50 idle callbacks": (Load(idle=50), 1000),
    "validate": (Load("validate"), 4000),
    "predict": (Load("predict"), 4000),
}
Samples = dict[str, list[float]]


def measure_rounds(subject: Subject, rounds: int, scale: float) -> Samples:
    """Run every load once per round, loads of both kinds in turn."""
    runs: dict[str, Callable[[], float]] = {"add": microseconds_of_add}
    for table, runner in ((HANDMADE, ByHand()), (LOADS, subject)):
        for name, (load, count) in table.items():
            if runner.supports(load):
                runs[name] = _bound(runner, load, max(int(count * scale), 20))
    samples: Samples = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            gc.collect()
            took = run()
            if number:  # the first round warms up
                samples[name].append(took)
    return samples


def _bound(subject: Subject, load: Load, count: int) -> Callable[[], float]:
    return lambda: microseconds_per_batch(subject, load, count)


def measure_epochs(subject: Subject, scale: float, batches: int = 20) -> dict[str, float]:
    """Compare the cost of a step in the first and in the last quarter of many epochs."""
    epochs = max(int(400 * scale), 8)
    data = Clocked("linear", batches, warmup=2)
    subject.run(Load(), data, epochs)
    steps = batches - 3
    per_step = [(ended - began) / 1e3 / steps for began, ended in data.passes]
    quarter = epochs // 4
    first, last = sorted(per_step[1 : quarter + 1]), sorted(per_step[-quarter:])
    between = [
        (later[0] - earlier[1]) / 1e3
        for earlier, later in zip(data.passes, data.passes[1:], strict=False)
    ]
    return {
        "first": first[len(first) // 2],
        "last": last[len(last) // 2],
        "between": sorted(between)[len(between) // 2],
    }


def measure_memory(subject: Subject, scale: float) -> dict[str, float]:
    """Note how much this process grows over many logged steps."""
    count = max(int(110_000 * scale), 200)
    marks: list[int] = []

    class Weighed(Clocked):
        """Batches that weigh the process on their way."""

        def __iter__(self) -> Any:
            for index, batch in enumerate(super().__iter__()):
                if index in (count // 11, count - 1):
                    gc.collect()
                    marks.append(_resident_bytes())
                yield batch

    load = Load(logs=1, on_epoch=True, logger=True)
    subject.run(load, Weighed("linear", count, warmup=2), epochs=1)
    return {"steps": count - count // 11, "mebibytes": (marks[1] - marks[0]) / 2**20}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measure(name: str, rounds: int, scale: float) -> dict[str, Any]:
    """All figures of a subject that need no fresh process."""
    subject = SUBJECTS[name]()
    found: dict[str, Any] = {"samples": measure_rounds(subject, rounds, scale)}
    found["epochs"] = measure_epochs(subject, scale)
    if subject.supports(Load(logs=1, on_epoch=True, logger=True)):
        found["memory"] = measure_memory(subject, scale)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        found = measure(arguments.subject, arguments.rounds, arguments.scale)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
