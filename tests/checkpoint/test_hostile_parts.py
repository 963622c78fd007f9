"""Hostile parts of a sharded checkpoint: none runs anything, each is one clear error, soon."""

import hashlib
import os
import pathlib
import pickle
import sys
import time

import pytest
import torch
import torch.distributed.checkpoint as dcp
from tests.checkpoint import hostile
from tests.distributed.ranks import run_ranks
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from pytorch_lightning.checkpoint.sharded import read_any, verify_sharded
from pytorch_lightning.utilities.exceptions import CheckpointError

pytestmark = pytest.mark.faults
PART = "__0_0.distcp"
KEY = "__sharded__"


def write_folder(folder, content, size=(4,), dtype=torch.float32, **place):
    """A folder whose hashes are right, as whoever makes a hostile one would see to."""
    folder.mkdir()
    (folder / PART).write_bytes(content)
    shape = torch.Size(size)
    index = MetadataIndex("w", torch.Size([0] * len(shape)), 0)
    metadata = Metadata(
        state_dict_metadata={
            "w": TensorStorageMetadata(
                TensorProperties(dtype), shape, [ChunkStorageMetadata(index.offset, shape)]
            )
        },
        storage_data={
            index: _StorageInfo(PART, place.get("begin", 0), place.get("length", len(content)))
        },
        storage_meta=StorageMeta(),
    )
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    seal(folder, {"w": {KEY: "w", "size": [*size], "dtype": dtype}})


def seal(folder, state):
    hashes = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (".metadata", PART)
    }
    about = {"format": 1, "hashes": hashes}
    torch.save({"state_dict": state, "sharded_checkpoint": about}, folder / "meta.pt")


def archive_of(path, value):
    hostile.archive(path, b"\x80\x02" + value + b".", {"archive/data/0": bytes(16)})
    content = path.read_bytes()
    path.unlink()
    return content


def fine(path):
    floats = hostile.persistent(hostile.FLOATS, "0", "cpu", 4)
    return archive_of(path, hostile.tensor(floats, 0, (4,), (1,)))


def watched(folder):
    """What reading each folder below a folder comes to, and all that it did beside."""
    folder = pathlib.Path(folder)
    events, current = [], [None]
    harmless = ("object.", "builtins.id", "sys._getframe", "ctypes.", "array.", "code.__new__",
                "os.scandir", "import", "compile", "gc.")  # fmt: skip

    def watch(event, args):
        if current[0] is None:
            return
        if event == "import" and args[0].partition(".")[0] in ("antigravity", "this"):
            events.append((event, args[0]))
        elif (
            event == "open"
            and os.path.dirname(str(args[0])) == current[0]
            and args[1] in ("r", "rb")
        ):
            return
        elif event == "open" and str(args[0]).endswith(".py") and args[1] in ("r", "rb"):
            return  # the stack of an error
        elif not event.startswith(harmless):
            events.append((event, repr(args)[:200]))

    assert read_any(folder / "a good one")["state_dict"]["w"].tolist() == [0.0] * 4
    sys.addaudithook(watch)
    outcomes = {}
    for place in sorted(folder.iterdir()):
        del events[:]
        begin, current[0] = time.process_time(), str(place)
        try:
            outcome = ("loaded", repr(read_any(place)))
        except CheckpointError as error:
            outcome = ("refused", str(error))
        except BaseException as error:
            outcome = (type(error).__name__, str(error))
        current[0] = None
        outcomes[place.name] = (*outcome, list(events), time.process_time() - begin)
    return outcomes


FEW = ("reduce", "reduce eval", "reduce getattr", "stack global", "inst", "newobj", "build a class",
       "extension registry", "torch load from bytes", "a storage outside", "laughs",
       "a storage that claims too much", "a tensor beyond its storage", "contains itself",
       "a tensor that repeats itself")  # fmt: skip


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_no_part_runs_anything(every, tmp_path, tally):
    folder, marker = tmp_path / "folders", tmp_path / "marker"
    folder.mkdir()
    write_folder(folder / "a good one", fine(tmp_path / "x"))
    for title, value in hostile.opcodes(marker).items():
        if title in FEW or (every and title not in hostile.LARGE):
            write_folder(folder / title, archive_of(tmp_path / "x", value))
    files = tmp_path / "files"
    files.mkdir()
    hostile.archives(files, marker)
    for file in files.iterdir():
        if every or file.stat().st_size < 10_000:
            write_folder(folder / file.name, file.read_bytes())
    (outcomes,) = run_ranks(watched, 1, str(folder), limit=110)
    tally("hostile file", len(outcomes) - 1)
    assert len(outcomes) > (110 if every else 30)
    assert outcomes.pop("a good one")[0] == "loaded"
    other = {
        name: outcome
        for name, outcome in outcomes.items()
        if outcome[0] != "refused" or name not in outcome[1] or outcome[2] or outcome[3] > 5
    }
    assert other == {}
    assert not marker.exists()
    assert "`posix.system`" in outcomes["reduce"][1] and PART in outcomes["reduce"][1]


@pytest.mark.parametrize(
    ("place", "why"),
    [({"begin": -8}, "less than the index says"), ({"length": 1 << 50}, "less than the index"),
     ({"length": -1}, "less than the index"), ({"begin": 100}, "damaged"),
     ({"size": (2, 2)}, "not the one in the"), ({"size": (1 << 50,)}, "larger than its files"),
     ({"dtype": torch.float64, "size": (1 << 40,)}, "larger than its files")],
    ids=str,
)  # fmt: skip
def test_an_index_that_lies_about_its_parts(place, why, tmp_path, tally):
    tally("hostile file")
    write_folder(tmp_path / "parts.ckpt", fine(tmp_path / "x"), **place)
    with pytest.raises(CheckpointError, match=rf"parts\.ckpt.*{why}"):
        read_any(tmp_path / "parts.ckpt")


@pytest.mark.parametrize(
    "mark",
    [{KEY: "w", "size": [1 << 50], "dtype": torch.float32}, {KEY: "w"}, {KEY: ["w"]},
     {KEY: "other", "size": [4], "dtype": torch.float32},
     {KEY: "w", "size": [4], "dtype": torch.float64}],
    ids=str,
)  # fmt: skip
def test_marks_that_lie_about_the_index(mark, tmp_path, tally):
    tally("hostile file")
    write_folder(tmp_path / "parts.ckpt", fine(tmp_path / "x"))
    seal(tmp_path / "parts.ckpt", {"w": mark})
    with pytest.raises(CheckpointError, match=r"parts\.ckpt.*the index"):
        read_any(tmp_path / "parts.ckpt")


def test_a_thousand_marks_of_one_tensor_take_no_memory(tmp_path, tally):
    tally("hostile file")
    write_folder(tmp_path / "parts.ckpt", fine(tmp_path / "x"))
    mark = {KEY: "w", "size": [4], "dtype": torch.float32}
    seal(tmp_path / "parts.ckpt", [mark] * 1000)
    with pytest.raises(CheckpointError, match="larger than its files"):
        read_any(tmp_path / "parts.ckpt")


class Runs:
    """What pickle calls when it is read."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("has_meta", [True, False])
def test_a_folder_of_another_program_is_refused_and_not_run(has_meta, tmp_path, tally):
    # NeMo Automodel ZDI-CAN-31759: `.metadata` and entries that are bytes were trusted
    tally("hostile file")
    folder, marker = tmp_path / "theirs.ckpt", tmp_path / "marker"
    state = {"w": torch.ones(2), "evil": Runs(marker)}
    dcp.save(state, storage_writer=dcp.FileSystemWriter(folder), no_dist=True)
    if has_meta:
        torch.save({"epoch": 1}, folder / "meta.pt")
    for read in (read_any, verify_sharded):
        with pytest.raises(CheckpointError, match=r"theirs\.ckpt"):
            read(folder)
    seal(folder, {"w": {KEY: "w", "size": [2], "dtype": torch.float32}})  # even as one of ours
    with pytest.raises(CheckpointError, match="no tensor, which torch would run as a program"):
        read_any(folder)
    assert not marker.exists()
