"""Compare trainers with loops written by hand; print a table in markdown.

    python benchmarks/run.py
    python benchmarks/run.py --against reference,accelerate --python /path/to/other/bin/python

Every load runs in interleaved rounds beside the loop by hand with the same model and the same
batches, which lie in memory; one thread; the CPU time of the main thread, from batch to batch;
medians of the ratios that each round gives.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from startup import installed_wheel, measure_startup

HERE = Path(__file__).resolve().parent
PACKAGES = {"reference": "pytorch_lightning"}


@dataclass(frozen=True)
class Row:
    """A line of the table: what is measured, its aim, and a figure for each subject."""

    title: str
    aim: str
    figures: list[str]


def main() -> None:
    """Measure, and print the table."""
    arguments = _arguments()
    columns = ["this project", *arguments.against]
    found = [_measure("pytorch_lightning", sys.executable, arguments)]
    for name in arguments.against:
        package = PACKAGES.get(name, name)
        found.append(_measure(package, arguments.python, arguments))
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {_processor()}.\n")
    print(f"| | aim | {' | '.join(columns)} |")
    print("|---|---|" + "---|" * len(columns))
    for row in make_rows(found):
        print(f"| {row.title} | {row.aim} | {' | '.join(row.figures)} |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--against",
        type=lambda text: text.split(","),
        default=[],
        help="reference, accelerate, ignite: where they are installed",
    )
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has them")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--starts", type=int, default=5, help="fresh processes of each kind")
    parser.add_argument("--scale", type=float, default=1.0, help="shorter long runs: 0.1")
    parser.add_argument(
        "--scale-against",
        type=float,
        default=0.2,
        help="fewer rounds and shorter long runs for the other subjects",
    )
    return parser.parse_args()


def _measure(package: str, python: str, arguments: argparse.Namespace) -> dict[str, Any]:
    ours = package == "pytorch_lightning" and python == sys.executable
    print(f"measuring {package} with {python}", file=sys.stderr)
    scale = arguments.scale * (1.0 if ours else arguments.scale_against)
    rounds = arguments.rounds if ours else max(int(arguments.rounds * arguments.scale_against), 3)
    command = [python, str(HERE / "worker.py"), package]
    command += ["--rounds", str(rounds), "--scale", str(scale)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if ours:
        with installed_wheel(python) as path:
            found["startup"] = measure_startup(python, arguments.starts, path)
    elif package == "pytorch_lightning":
        found["startup"] = measure_startup(python, arguments.starts, None)
    return found


def make_rows(found: list[dict[str, Any]]) -> list[Row]:
    """Turn what was measured into the lines of the table."""
    rows = [
        _ratio_row(found, "step, Linear 32->2, SGD", "x1.12", "step, linear"),
        _ratio_row(found, "step, autoencoder, Adam", "x1.02", "step, autoencoder"),
        _ratio_row(found, "defaults and one log", "x1.30", "defaults and one log"),
        _ratio_row(found, "20 metrics on step and epoch", "x2", "20 metrics"),
        _added_row(found, "a further logged value, on step", "4 adds", "step"),
        _added_row(found, "a further logged value, step and epoch", "6 adds", "step and epoch"),
        _callback_row(found, "a further callback with two empty hooks", "0.2 us", "50 callbacks"),
        _callback_row(found, "a callback that overrides nothing", "0 us", "50 idle callbacks"),
        _ratio_row(found, "validation, per batch", "x1.2", "validate"),
        _ratio_row(found, "prediction, per batch", "x1.5 or 3 us", "predict"),
    ]
    return rows + _startup_rows(found) + _long_run_rows(found)


def _ratio_row(found: list[dict[str, Any]], title: str, aim: str, name: str) -> Row:
    def figure(samples: list[dict[str, float]]) -> str:
        ratio = statistics.median(s["taken"] / s["beside"] for s in samples)
        more = statistics.median(s["taken"] - s["beside"] for s in samples)
        by_hand = statistics.median(s["beside"] for s in samples)
        return f"x{ratio:.2f} (+{more:.1f} us on {by_hand:.1f})"

    return Row(title, aim, _figures(found, name, figure))


def _added_row(found: list[dict[str, Any]], title: str, aim: str, logged: str) -> Row:
    def figure(samples: list[dict[str, float]]) -> str:
        each = [(s["taken"] - s["beside"]) / 10 for s in samples]
        adds = [one / s["add"] for one, s in zip(each, samples, strict=True)]
        return f"{statistics.median(adds):.1f} adds ({statistics.median(each):.2f} us)"

    return Row(title, aim, _figures(found, f"20 values, {logged}", figure))


def _callback_row(found: list[dict[str, Any]], title: str, aim: str, name: str) -> Row:
    def figure(samples: list[dict[str, float]]) -> str:
        return f"{statistics.median((s['taken'] - s['beside']) / 50 for s in samples):.2f} us"

    return Row(title, aim, _figures(found, name, figure))


def _figures(
    found: list[dict[str, Any]], name: str, figure: Callable[[list[dict[str, float]]], str]
) -> list[str]:
    every = [subject["samples"].get(name) for subject in found]
    return ["-" if samples is None else figure(samples) for samples in every]


def _startup_rows(found: list[dict[str, Any]]) -> list[Row]:
    def figures(name: str) -> list[str]:
        return [
            f"x{s['startup'][name] / s['startup']['by hand']:.2f}" if "startup" in s else "-"
            for s in found
        ]

    imports = [f"{s['startup']['import'] * 1e3:.0f} ms" if "startup" in s else "-" for s in found]
    return [
        Row("import, on top of torch, from a wheel with bytecode", "60 ms", imports),
        Row("start to first step, extras off", "x1.08", figures("extras off")),
        Row("start to first step, defaults", "x1.08", figures("defaults")),
    ]


def _long_run_rows(found: list[dict[str, Any]]) -> list[Row]:
    epochs = [f"x{s['epochs']['last'] / s['epochs']['first']:.2f}" for s in found]
    between = [f"{s['epochs']['between']:.0f} us" for s in found]
    memory = [
        f"{s['memory']['mebibytes']:+.1f} MiB over {s['memory']['steps']:.0f}"
        if "memory" in s
        else "-"
        for s in found
    ]
    return [
        Row("a step in the last of 400 epochs, against the first ones", "x1.00", epochs),
        Row("between the last two batches of an epoch and the next", "", between),
        Row("memory over logged steps", "flat over 100000", memory),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
