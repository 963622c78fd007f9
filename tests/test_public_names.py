"""Every documented name can be imported from each of its homes, or says what to write instead."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pytorch_lightning as pl

NAMES = json.loads((Path(__file__).parent / "data" / "public-names.json").read_text())
CASES = [(home, name) for name, homes in sorted(NAMES.items()) for home in homes]
SENTENCE = r"^`[\w.]+` is not part of this release: .+\.$"


@pytest.mark.parametrize(("home", "name"), CASES, ids=[f"{h}:{n}" for h, n in CASES])
def test_a_name_is_there_or_says_what_to_write(home, name):
    try:
        module = importlib.import_module(home)
        found = getattr(module, name)
    except ImportError as error:
        with pytest.raises(ImportError, match=SENTENCE):
            raise error
    else:
        assert found is not None


def is_importable(home: str, name: str) -> bool:
    try:
        getattr(importlib.import_module(home), name)
    except ImportError:
        return False
    return True


def test_most_names_are_there():
    missing = {
        name for name, homes in NAMES.items() if not any(is_importable(h, name) for h in homes)
    }
    assert len(missing) <= 73  # rooms of later releases; this number may only fall
    assert {"Trainer", "LightningModule", "Callback", "ModelCheckpoint"}.isdisjoint(missing)


def test_names_are_the_same_objects_in_every_home():
    for name, homes in NAMES.items():
        if name == "ModelSummary":
            continue  # the callback and the table that it prints
        found = {
            id(getattr(importlib.import_module(home), name))
            for home in homes
            if is_importable(home, name)
        }
        assert len(found) <= 1, name


def test_the_top_level_has_what_it_promises():
    assert set(pl.__all__) == {
        "Callback",
        "LightningDataModule",
        "LightningModule",
        "Trainer",
        "seed_everything",
    }
    for name in ("accelerators", "callbacks", "core", "demos", "loggers", "loops", "overrides"):
        assert getattr(pl, name).__name__.startswith("pytorch_lightning.")
    for name in ("plugins", "profilers", "strategies", "trainer", "tuner", "utilities"):
        assert getattr(pl, name).__name__ == f"pytorch_lightning.{name}"
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = pl.no_such_name


@pytest.mark.parametrize(
    "package",
    ["accelerators", "callbacks", "core", "loggers", "plugins", "profilers", "strategies"],
)
def test_star_imports_hold_what_is_there(package):
    module = importlib.import_module(f"pytorch_lightning.{package}")
    names: dict[str, object] = {}
    exec(f"from pytorch_lightning.{package} import *", names)
    assert set(module.__all__) <= set(names)


def test_the_version_has_one_source():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'version = "{pl.__version__}"' in text


FORBIDDEN = (
    "torch._dynamo",
    "torch._inductor",
    "torch.distributed.checkpoint",
    "torch.distributed.fsdp",
    "torch.distributed.optim",
    "torch.distributed.tensor",
    "torch.utils.benchmark",
    "fsspec",
    "jsonargparse",
    "matplotlib",
    "rich",
    "tensorboard",
    "torchmetrics",
    "yaml",
)


def test_importing_loads_nothing_heavy_and_starts_nothing():
    program = (
        "import sys, threading, warnings, torch; before = set(sys.modules); "
        "formats = warnings.formatwarning, warnings.showwarning; "
        "import pytorch_lightning; "
        f"heavy = [m for m in set(sys.modules) - before if m.startswith({FORBIDDEN!r})]; "
        "assert not heavy, heavy; assert threading.active_count() == 1; "
        "assert formats == (warnings.formatwarning, warnings.showwarning); "
        "import gc; assert gc.isenabled()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
