"""Measure one subject beside the loop by hand, in this interpreter; print JSON."""

import argparse
import gc
import json
import logging
import os
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loads import Clocked
from subjects import SUBJECTS, ByHand, Load, Subject, microseconds_of_add, microseconds_per_batch


@dataclass(frozen=True)
class Pair:
    """A load, and what it is compared with in the same breath.

    Args:
        count: Batches of one run.
        beside: What the same subject does for comparison; by default the loop by hand does
            the plainest load of that verb and model.
    """

    load: Load
    count: int
    beside: Load | None = None


PAIRS = {
    "step, linear": Pair(Load(), 500),
    "step, autoencoder": Pair(Load(kind="autoencoder"), 200),
    "defaults and one log": Pair(Load(logs=1, defaults=True), 500),
    "20 metrics": Pair(Load(logs=20, on_epoch=True, logger=True), 200),
    "20 values, step": Pair(Load(logs=20), 200, Load(logs=10)),
    "20 values, step and epoch": Pair(
        Load(logs=20, on_epoch=True), 200, Load(logs=10, on_epoch=True)
    ),
    "50 callbacks": Pair(Load(listeners=50), 200, Load()),
    "50 idle callbacks": Pair(Load(idle=50), 200, Load()),
    "validate": Pair(Load("validate"), 500),
    "predict": Pair(Load("predict"), 500),
}
Samples = dict[str, list[dict[str, float]]]


def measure_rounds(subject: Subject, rounds: int) -> Samples:
    """Run every pair once per round, the two halves of it one after the other."""
    pairs = {name: pair for name, pair in PAIRS.items() if subject.supports(pair.load)}
    samples: Samples = {name: [] for name in pairs}
    by_hand = ByHand()
    gc.collect()
    gc.freeze()  # what was imported is not searched again and again
    for number in range(rounds + 1):
        for name, pair in pairs.items():
            beside = pair.beside or Load(pair.load.verb, pair.load.kind)
            sample = {
                "beside": microseconds_per_batch(
                    subject if pair.beside else by_hand, beside, pair.count
                ),
                "taken": microseconds_per_batch(subject, pair.load, pair.count),
                "add": microseconds_of_add(),
            }
            if number:  # the first round warms up
                samples[name].append(sample)
    return samples


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
    found: dict[str, Any] = {"samples": measure_rounds(subject, rounds)}
    found["epochs"] = measure_epochs(subject, scale)
    if subject.supports(Load(logs=1, on_epoch=True, logger=True)):
        found["memory"] = measure_memory(subject, scale)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("subject", choices=SUBJECTS)
    parser.add_argument("--rounds", type=int, default=31)
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
