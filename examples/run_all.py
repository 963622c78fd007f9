"""Run every program of this folder, and print what each one reached as one table.

python examples/run_all.py                 # all of them; the table goes into examples/README.md
python examples/run_all.py gan dqn         # these, and no file is changed
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
START, END = "<!-- table: start -->", "<!-- table: end -->"


class System(NamedTuple):
    """A program, where its result stands in what it prints, and what that must be."""

    title: str
    measure: str
    own: str  # the words before the result
    trivial: str  # those before what a trivial model gets
    bound: float
    is_error: bool = False  # the bound is from above
    needs: tuple[str, ...] = ("sklearn", "matplotlib")
    options: tuple[str, ...] = ()
    program: str = ""  # where it is not the name of the system

    def holds(self, result: float) -> bool:
        """Whether the bound is kept."""
        return result <= self.bound if self.is_error else result >= self.bound


GAN = ("GAN", "confidence of a judge in its samples", r"samples +10 digits", "noise .*confidence")
SYSTEMS = {
    "autoencoder": System(
        *("autoencoder", "squared error", "autoencoder, 3 numbers", "PCA with 3 components"),
        *(0.0190, True),
    ),
    "image_classifier": System(
        *("image classifier", "accuracy", "classifier", "the most common digit", 0.970),
        needs=("sklearn", "onnx", "onnxscript", "onnxruntime"),
    ),
    "bert": System(
        *("BERT", "accuracy", "BERT", "the most common class", 0.81),
        needs=("transformers", "tokenizers", "matplotlib"),
    ),
    "dqn": System(
        *("DQN", "mean return", "learned", "at random", 195.0), needs=("gymnasium", "matplotlib")
    ),
    "gan": System(*GAN, 0.90),
    "gan_automatic": System(
        *("GAN, automatic style", *GAN[1:], 0.90),
        options=("--style", "automatic", "--out", "demo/gan_automatic"),
        program="gan",
    ),
    "semantic_segmentation": System(
        "semantic segmentation", "mean IoU", "U-Net", "always the ground", 0.94
    ),
    "language_model": System(
        *("language model", "bits per character", "GPT", "how often it comes", 2.30, True),
        needs=(),
    ),
    "time_series": System(
        *("time series", "mean absolute error", "forecaster", "a year before", 0.75, True),
        needs=("statsmodels", "matplotlib"),
    ),
    "fabric_loop": System(
        *("a loop by hand", "accuracy", "accuracy on the test images", "", 0.96),
        needs=("sklearn",),
    ),
}


class Run(NamedTuple):
    """What a program printed and took."""

    printed: str
    code: int
    seconds: float
    megabytes: float


def run(name: str, *more: str) -> Run:
    """Run a program of this folder in a process of its own, with one thread."""
    system = SYSTEMS[name]
    command = [sys.executable, str(HERE / f"{system.program or name}.py"), *system.options, *more]
    start = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(printed, process.returncode, time.monotonic() - start, usage.ru_maxrss / 1024)


def number_after(words: str, printed: str) -> float:
    """The first number after some words; NaN if they were not printed."""
    found = re.search(rf"(?:{words})\D*?(\d+\.\d+)", printed, re.MULTILINE) if words else None
    return float(found[1]) if found else float("nan")


def result_of(name: str, printed: str) -> tuple[float, float]:
    """What the program reached, and what a trivial model gets."""
    system = SYSTEMS[name]
    return number_after(rf"^ *(?:{system.own})", printed), number_after(system.trivial, printed)


def row(name: str) -> tuple[str, bool]:
    """The line of the table for a system, after a run; and whether its bound was kept."""
    system = SYSTEMS[name]
    missing = [package for package in system.needs if find_spec(package) is None]
    if missing:
        return f"| {system.title} | not run: no {', '.join(missing)} | | | | | |", True
    done = run(name)
    own, trivial = result_of(name, done.printed)
    is_kept = done.code == 0 and system.holds(own)
    if not is_kept:
        print(done.printed, file=sys.stderr)
    sign = "at most" if system.is_error else "at least"
    cells = [system.title, system.measure, f"{own:g}", f"{sign} {system.bound:g}"]
    cells += ["-" if trivial != trivial else f"{trivial:g}"]
    cells += [f"{done.seconds:.0f} s", f"{done.megabytes:.0f} MB"]
    return f"| {' | '.join(cells)} |", is_kept


def keep(table: list[str]) -> None:
    """Put the table and the pictures beside the programs."""
    page = HERE / "README.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    told = f"`make examples`, {date.today()}, {os.cpu_count()} cores, one thread for each program:"
    text = "\n".join([START, told, "", *table, END])
    page.write_text(before + text + after, encoding="utf-8")
    for picture in re.findall(r"\]\(pictures/(\w+)-([\w-]+\.png)\)", page.read_text("utf-8")):
        folder = Path("demo") if picture[0] == "autoencoder" else Path("demo", picture[0])
        if (folder / picture[1]).exists():
            shutil.copy(folder / picture[1], HERE / "pictures" / "-".join(picture))


def main(arguments: list[str] | None = None) -> int:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("systems", nargs="*", choices=[*SYSTEMS, []], help="default: all")
    chosen = parser.parse_args(arguments).systems
    table = ["| system | measure | result | must be | trivial model | wall | peak memory |"]
    table += ["|---|---|---|---|---|---|---|"]
    are_kept = []
    for name in chosen or SYSTEMS:
        line, is_kept = row(name)
        print(line, file=sys.stderr, flush=True)
        table.append(line)
        are_kept.append(is_kept)
    print("\n".join(table))
    if not chosen:
        keep(table)
    return 0 if all(are_kept) else 1


if __name__ == "__main__":
    sys.exit(main())
