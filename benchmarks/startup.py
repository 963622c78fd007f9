"""What a program pays before its first step, measured in fresh processes."""

import importlib.util
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

IMPORT_TORCH = """
import time, torch
began = time.process_time()
"""
IMPORT_TRAINER = (
    IMPORT_TORCH
    + """
import pytorch_lightning
print("CPU", time.process_time() - began, flush=True)
"""
)
FIRST_STEP_BY_HAND = """
import time, torch
torch.set_num_threads(1)
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(32, 2)
model, batches = Model(), [torch.randn(16, 32)] * 4
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for batch in batches:
    loss = model.net(batch).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    break
print("CPU", time.process_time())
"""
FIRST_STEP = """
import time, torch
import pytorch_lightning as pl
torch.set_num_threads(1)
class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(32, 2)
    def training_step(self, batch, batch_idx):
        return self.net(batch).square().mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if batch_idx == 0:
            print()
            print("CPU", time.process_time(), flush=True)
options = {OPTIONS}
trainer = pl.Trainer(max_epochs=1, accelerator="cpu", **options)
class Batches:  # a list would be taken for several loaders
    def __len__(self):
        return 4
    def __iter__(self):
        return iter([torch.randn(16, 32)] * 4)
trainer.fit(Model(), Batches())
"""
EXTRAS_OFF = dict.fromkeys(
    ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
)


def cpu_seconds(python: str, program: str, path: Path | None = None) -> float:
    """Run a program in a fresh process; return the number that it prints after `CPU`.

    Args:
        path: A folder that comes before the installed packages.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [python, "-W", "ignore", "-c", program],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
        )
    for line in done.stdout.splitlines():
        if line.startswith("CPU "):
            return float(line.split()[1])
    raise RuntimeError(f"No number in {done.stdout!r}; it said: {done.stderr[-2000:]}")


@contextmanager
def installed_wheel(python: str) -> Iterator[Path]:
    """Install this project, bytecode included, into a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "site"
        if importlib.util.find_spec("hatchling") is not None:
            install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--compile"]
            where = ["--no-build-isolation", "--target", str(target), str(ROOT)]
            subprocess.run([*install, *where], check=True, stdout=sys.stderr)
        else:  # what builds the wheel is not here; the wheel holds exactly this folder
            package = "pytorch_lightning"
            shutil.copytree(ROOT / "src" / package, target / package)
            subprocess.run([python, "-m", "compileall", "-q", str(target)], check=True)
        yield target


def measure_startup(python: str, rounds: int, path: Path | None) -> dict[str, float]:
    """Measure import and first step, each against the program without a trainer, in turn."""
    bare = FIRST_STEP.replace("{OPTIONS}", repr(EXTRAS_OFF))
    programs = {
        "import": IMPORT_TRAINER,
        "by hand": FIRST_STEP_BY_HAND,
        "extras off": bare,
        "defaults": FIRST_STEP.replace("{OPTIONS}", "{}"),
    }
    samples: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(rounds + 1):
        for name, program in programs.items():
            took = cpu_seconds(python, program, path)
            if number:  # the first round writes bytecode and fills the disk cache
                samples[name].append(took)
    return {name: statistics.median(values) for name, values in samples.items()}
