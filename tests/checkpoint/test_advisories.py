"""The trick of each known advisory that no other test has; the table is in SECURITY.md."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest
import torch
from tests.checkpoint import hostile

import pytorch_lightning as pl
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.demos.boring_classes import BoringModel
from pytorch_lightning.utilities.exceptions import CheckpointError

pytestmark = pytest.mark.faults
ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("advisory", ["CVE-2021-4118", "CVE-2026-31221"])
def test_pickled_calls_do_not_run(advisory, tmp_path, tally):
    tally("hostile file")
    marker, path = tmp_path / "marker", tmp_path / "evil.ckpt"
    hostile.archive(path, hostile.pickled(hostile.opcodes(marker)["reduce"]))
    with pytest.raises(CheckpointError, match=r"evil\.ckpt.*`posix\.system`"):
        BoringModel.load_from_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["PL_TRAINER_LOGGER", "PL_TRAINER_PROFILER", "PL_TRAINER_DEVICES"])
def test_text_of_the_environment_is_not_code(name, tmp_path, monkeypatch, tally):
    # CVE-2022-0845
    tally("hostile text")
    marker = tmp_path / "marker"
    monkeypatch.setenv(name, f"__import__('pathlib').Path({str(marker)!r}).touch()")
    with pytest.raises(Exception, match="pathlib"):
        pl.Trainer(accelerator="cpu", enable_progress_bar=False)
    assert not marker.exists()


@pytest.mark.parametrize("advisory", ["CVE-2024-5452", "CVE-2024-5980", "CVE-2024-8020"])
def test_there_is_no_server_of_apps(advisory):
    assert importlib.util.find_spec("pytorch_lightning.app") is None
    assert not hasattr(pl, "app")


def test_an_import_starts_nothing():
    # GHSA-w37p-236h-pfx3
    code = (
        "import sys\nseen = []\n"
        "begun = ('subprocess.', 'socket.', 'os.system', 'os.exec', 'os.posix_spawn', 'os.fork',\n"
        "         'urllib.', '_thread.start')\n"
        "import torch\n"
        "sys.addaudithook(lambda e, a: seen.append(e) if e.startswith(begun) else None)\n"
        "import pytorch_lightning, threading\n"
        "print(seen, threading.active_count())\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[] 1"


@pytest.mark.parametrize("advisory", ["CVE-2025-32434", "CVE-2026-24747"])
def test_torch_load_is_not_called(advisory, tmp_path, monkeypatch):
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "a.ckpt")

    def called(*args, **options):
        raise AssertionError("the reader of torch")

    monkeypatch.setattr(torch, "load", called)
    assert read_checkpoint(tmp_path / "a.ckpt")["state_dict"]["w"].tolist() == [1.0, 1.0]


def test_a_refusal_is_never_followed_by_the_unsafe_reader(tmp_path, monkeypatch, tally):
    # Stanza 1.12.0 read again, without care, what the careful reader refused
    tally("hostile file")
    hostile.archive(tmp_path / "evil.ckpt", hostile.pickled(hostile.name("os", "system")))
    calls = []
    monkeypatch.setattr(torch, "load", lambda *args, **options: calls.append(args))
    for word in (None, True):
        with pytest.raises(CheckpointError, match=r"evil\.ckpt"):
            read_checkpoint(tmp_path / "evil.ckpt", None, word)
    assert calls == []


def test_each_test_of_the_table_exists():
    found = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(found) > 12
    for file, name in found:
        assert f"def {name}(" in (ROOT / file).read_text(), (file, name)
