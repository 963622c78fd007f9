"""Compare the first 50 steps of the programs under two interpreters, one with another release.

python examples/compare.py /path/to/other/bin/python
python examples/compare.py /path/to/other/bin/python dqn gan
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = ["image_classifier", "autoencoder", "dqn", "gan", "gan --style automatic"]
PROGRAMS += ["time_series", "semantic_segmentation", "bert", "language_model"]
STEPS = 50
RECORD = f"""
import importlib, json, os, sys
import pytorch_lightning as pl

class Enough(BaseException):
    pass

class Record(pl.Callback):
    seen = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        weights = sum(float(p.detach().double().abs().sum()) for p in module.parameters())
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self.seen.append([None if loss is None else float(loss), weights])
        if len(self.seen) == {STEPS}:
            raise Enough

class Trainer(pl.Trainer):
    def __init__(self, *args, callbacks=(), **kwargs):
        kwargs |= {{"enable_progress_bar": False, "enable_model_summary": False}}
        super().__init__(*args, callbacks=[*callbacks, Record()], **kwargs)

pl.Trainer = Trainer
program, *options = sys.argv[1:]
try:
    importlib.import_module(program).main(options)
except Enough:
    pass
os.write(1, ("\\n" + json.dumps(Record.seen)).encode())
"""
Steps = list[tuple[float | None, float]]


def recorded(python: str, program: str) -> Steps | str:
    """Loss and sum of absolute weights after each step; or why there are none."""
    paths = [str(HERE)]
    if python == sys.executable and "PYTHONPATH" in os.environ:
        paths.append(os.environ["PYTHONPATH"])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-W", "ignore", "-c", RECORD, *program.split()]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        return (done.stderr.strip() or "nothing was said").splitlines()[-1][:150]
    steps: Steps = json.loads(done.stdout.splitlines()[-1])
    return steps


def verdict(ours: Steps | str, theirs: Steps | str) -> str:
    """Whether two runs are equal, or from which step on they are not."""
    for name, steps in (("here", ours), ("there", theirs)):
        if isinstance(steps, str):
            return f"does not run {name}: {steps}"
    if ours == theirs:
        return f"{len(ours)} steps are equal, bit for bit"
    shorter = min(len(ours), len(theirs))
    step = next((number for number in range(shorter) if ours[number] != theirs[number]), shorter)
    return f"different from step {step} on: {ours[step : step + 1]}, {theirs[step : step + 1]}"


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("python", help="another interpreter")
    parser.add_argument("programs", nargs="*", help="default: all")
    options = parser.parse_args(arguments)
    for program in options.programs or PROGRAMS:
        steps = (recorded(python, program) for python in (sys.executable, options.python))
        print(f"{program:24} {verdict(*steps)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
