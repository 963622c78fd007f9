"""Importing the package does nothing but define names; a run says little and sends nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = [
    *("torch._dynamo", "torch._inductor", "torch.distributed.optim", "torch.distributed.fsdp"),
    *("torch.distributed.checkpoint", "torch.distributed.tensor", "torch.utils.benchmark"),
    *("torchmetrics", "tensorboard", "tensorboardX", "torch.utils.tensorboard", "rich"),
    *("jsonargparse", "matplotlib", "yaml", "omegaconf", "pandas", "lightning_utilities"),
    *("litlogger", "litmodels", "lightning_sdk", "requests", "wandb", "mlflow"),
]
SHARED = ["numpy", "fsspec", "tqdm"]  # only where torch itself has loaded them

WATCHED = """
import json, logging, os, sys, threading
import torch
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
handlers = list(logging.getLogger().handlers)
sys.dont_write_bytecode = True
loaded, environment = set(sys.modules), dict(os.environ)
events = []

def watch(event, args):
    if event == "open":
        flags = args[2] if isinstance(args[2], int) else 0
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not writes and not set(str(args[1])) & set("wax+"):
            return
    elif not event.startswith(WATCHED):
        return
    events.append([event, str(args)[:100]])

WATCHED = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "os.putenv",
    "os.unsetenv", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.", "tempfile.",
    "urllib.", "http.", "signal.", "webbrowser.", "_thread.start", "ctypes.dlopen",
)
sys.addaudithook(watch)
import pytorch_lightning
for name in dir(pytorch_lightning):
    getattr(pytorch_lightning, name)
print(json.dumps({
    "events": events,
    "threads": [t.name for t in threading.enumerate()],
    "environment": environment == dict(os.environ),
    "modules": sorted(set(sys.modules) - loaded),
    "all": sorted(sys.modules),
    "level": logging.getLogger("pytorch_lightning").level == logging.ERROR,
    "root": logging.getLogger().handlers == handlers,
}))
"""


def run(program, *options, **environment):
    """A program in a process of its own, in an environment without settings of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PL_", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *options, "-c", program],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def imported():
    done = run(WATCHED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()  # and the import prints nothing
    return json.loads(line)


def test_import_opens_connects_starts_and_changes_nothing(imported):
    assert imported["events"] == []
    assert imported["threads"] == ["MainThread"]
    assert imported["environment"]


def test_import_loads_none_of_the_slow_modules(imported):
    loaded = set(imported["all"])
    assert [name for name in FORBIDDEN if name in loaded] == []
    ours = set(imported["modules"])
    assert [name for name in SHARED if name in ours] == []


def test_a_log_level_that_was_set_before_the_import_is_kept(imported):
    assert imported["level"]
    assert imported["root"]


DEFAULT = """
import torch
from torch.utils.data import DataLoader
import pytorch_lightning as pl

class Model(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch).mean()
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch).mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

def rows():
    return DataLoader(torch.ones(8, 4), batch_size=2)

trainer = pl.Trainer(max_epochs=2, log_every_n_steps=1)
trainer.fit(Model(), rows(), rows())
trainer.validate(trainer.model, rows())
"""


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    program = f"import os; os.chdir({str(folder)!r})\n{DEFAULT}"
    options = ("-W", "error::DeprecationWarning", "-W", "error::FutureWarning")
    options += ("-W", "ignore:The `")  # advice about workers depends on the machine
    return run(program, *options, COLUMNS="100")


def test_a_default_run_uses_nothing_deprecated(default_run):
    assert default_run.returncode == 0, default_run.stderr


def test_a_default_run_says_little_and_advertises_nothing(default_run):
    for word in (
        "Tip",
        "http",
        "lightning.ai",
        "litlogger",
        "litmodels",
        "\N{ELECTRIC LIGHT BULB}",
    ):
        assert word not in default_run.stdout + default_run.stderr
    table = [line for line in default_run.stderr.splitlines() if line]
    assert (table[0].split(), len(table)) == (
        ["|", "Name", "|", "Type", "|", "Params", "|", "Mode"],
        10,
    )
    # a machine that is slow enough says now and then how far it is
    unfinished = re.compile(r"Sanity| \d\d?% ")
    progress = [
        line for line in default_run.stdout.splitlines() if line and not unfinished.search(line)
    ]
    assert len(progress) == 2 + 1 + 5  # an epoch each, the validation, and its results
    assert progress[0].startswith("Epoch 0/1: 100%")
