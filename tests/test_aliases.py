"""Old import paths answer with today's modules, and old names with today's classes."""

import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import pytorch_lightning as pl
from pytorch_lightning._aliases import MODULES
from pytorch_lightning._old_names import OLD_NAMES
from pytorch_lightning._unbuilt import UNBUILT_MODULES, UNBUILT_NAMES

ROOT = "pytorch_lightning"
SENTENCE = r"^`[\w.]+` is not part of this release: .+\.$"


@pytest.mark.parametrize(("old", "new"), sorted(MODULES.items()))
def test_an_old_path_is_the_very_module(old, new):
    try:
        today = importlib.import_module(f"{ROOT}.{new}")
    except ImportError as error:
        with pytest.raises(ImportError, match=SENTENCE):
            raise error
        return
    assert importlib.import_module(f"{ROOT}.{old}") is today
    assert today.__spec__.name == today.__name__


@pytest.mark.parametrize(
    ("module", "old", "target"),
    [(module, old, new) for module, names in OLD_NAMES.items() for old, new in names.items()],
)
def test_an_old_name_is_todays_object(module, old, target):
    home, _, name = target.partition(":")
    where = f"{ROOT}.{module}" if module else ROOT
    try:
        today = getattr(importlib.import_module(f"{ROOT}.{home}"), name)
    except ImportError:
        with pytest.raises(ImportError, match=SENTENCE):
            getattr(importlib.import_module(where), old)
        return
    assert getattr(importlib.import_module(where), old) is today


@pytest.mark.parametrize(
    ("module", "name"), [(m, n) for m, names in UNBUILT_NAMES.items() for n in names]
)
def test_an_unbuilt_name_says_what_to_write(module, name):
    # once it is built, its row goes
    with pytest.raises(ImportError, match=SENTENCE):
        getattr(importlib.import_module(f"{ROOT}.{module}"), name)


@pytest.mark.parametrize("module", sorted(UNBUILT_MODULES))
def test_an_unbuilt_module_says_what_to_write(module):
    with pytest.raises(ImportError, match=SENTENCE):
        importlib.import_module(f"{ROOT}.{module}")


def test_no_old_path_hides_a_file():
    source = Path(pl.__file__).parent
    for old in MODULES:
        place = source.joinpath(*old.split("."))
        assert not place.with_suffix(".py").exists(), old
        assert not place.joinpath("__init__.py").exists(), old


def test_both_spellings_of_an_import():
    program = """
import pytorch_lightning.core.lightning
from pytorch_lightning.core.lightning import LightningModule
import pytorch_lightning as pl
assert pl.core.lightning is pl.core.module
assert LightningModule is pl.LightningModule
from pytorch_lightning.profiler.base import BaseProfiler
assert BaseProfiler is pl.profilers.Profiler
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_class_of_an_old_path_pickles_by_its_true_name():
    from pytorch_lightning.profiler.base import PassThroughProfiler

    text = pickle.dumps(PassThroughProfiler)
    assert b"pytorch_lightning.profilers.profiler" in text
    assert pickle.loads(text) is PassThroughProfiler


def test_an_unknown_module_is_not_found():
    with pytest.raises(ModuleNotFoundError, match="No module named 'pytorch_lightning.nothing'"):
        importlib.import_module("pytorch_lightning.nothing")
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from pytorch_lightning.callbacks import Nothing  # noqa: F401


def test_the_other_spelling_is_served_only_when_asked():
    program = """
import sys
import pytorch_lightning as pl
assert "lightning" not in sys.modules
from pytorch_lightning import _aliases
_aliases.install("lightning")
_aliases.install("lightning")
import lightning.pytorch as other
import lightning.pytorch.core.lightning
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.parsing import AttributeDict
assert other is pl
assert Callback is pl.callbacks.Callback
assert sys.modules["lightning.pytorch.core.lightning"] is pl.core.module
assert pl.__spec__.name == "pytorch_lightning" == pl.__name__
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_real_package_of_that_name_is_not_pushed_aside():
    program = """
import sys, types
sys.modules["lightning"] = types.ModuleType("lightning")
from pytorch_lightning import _aliases
try:
    _aliases.install("lightning")
except ImportError as error:
    assert "imported already" in str(error)
else:
    raise SystemExit(1)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
