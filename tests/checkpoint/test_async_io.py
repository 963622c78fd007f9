"""Saving in the background: one copy in memory, in order, complete before anybody relies on it."""

import os
import pickle
import threading
import time
from collections import OrderedDict

import pytest
import torch

from pytorch_lightning.checkpoint.async_io import AsyncCheckpointIO
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO
from pytorch_lightning.checkpoint.staging import Staging
from pytorch_lightning.utilities.exceptions import CheckpointError


class Slow(TorchCheckpointIO):
    """Writes when it is let."""

    def __init__(self):
        self.may_write = threading.Event()
        self.written = []
        self.removed = []

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        assert self.may_write.wait(20)
        super().save_checkpoint(checkpoint, path, storage_options)
        self.written.append(os.path.basename(path))

    def remove_checkpoint(self, path):
        self.removed.append((os.path.basename(path), list(self.written)))
        super().remove_checkpoint(path)


class Broken(TorchCheckpointIO):
    def save_checkpoint(self, checkpoint, path, storage_options=None):
        raise OSError(28, "No space left on device")


def state_of(value=1.0, size=4):
    weight = torch.full((size,), value)
    state = OrderedDict(weight=weight, tied=weight, half=weight[: size // 2])
    state._metadata = OrderedDict({"": {"version": 1}})
    moments = {0: {"step": torch.tensor(3.0), "exp_avg": weight * 2}}
    return {"epoch": 1, "state_dict": state, "optimizer_states": [{"state": moments}]}


def test_the_file_is_byte_for_byte_that_of_a_direct_save(tmp_path):
    state = state_of()
    state["bits"] = [torch.tensor([True]), torch.ones(2, dtype=torch.complex64), torch.ones(0, 3)]
    state["half"] = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.bfloat16).t())
    io = AsyncCheckpointIO()
    io.save_checkpoint(state, tmp_path / "a.ckpt")
    io.settle()
    TorchCheckpointIO().save_checkpoint(state, tmp_path / "b.ckpt")
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


def test_what_changes_after_the_save_is_not_in_the_file(tmp_path):
    writer, state, listed = Slow(), state_of(1.0), [1]
    state["callbacks"] = {"mine": {"listed": listed, "inner": (listed, bytearray(b"old"))}}
    io = AsyncCheckpointIO(writer)
    io.save_checkpoint(state, tmp_path / "a.ckpt")
    state["state_dict"]["weight"].fill_(9)
    state["optimizer_states"][0]["state"][0]["exp_avg"].fill_(9)
    state["callbacks"]["mine"]["inner"][1][:] = b"new"
    listed.append(2)
    state["epoch"] = 2
    writer.may_write.set()
    found = io.load_checkpoint(tmp_path / "a.ckpt")
    assert found["epoch"] == 1 and found["state_dict"]["weight"].tolist() == [1.0] * 4
    assert found["optimizer_states"][0]["state"][0]["exp_avg"].tolist() == [2.0] * 4
    assert found["callbacks"]["mine"]["inner"] == ([1], bytearray(b"old"))


def addresses(tree):
    return [tensor.data_ptr() for tensor in tree["state_dict"].values()]


def test_one_copy_is_made_of_each_storage_and_its_memory_is_kept():
    staging, state = Staging(), state_of(size=1 << 16)
    first = staging.copy(state)
    num_bytes = staging.num_bytes
    assert num_bytes == 2 * (4 << 16) + 4  # weight, its moment, the step: views share their storage
    assert first["state_dict"]["half"].data_ptr() == first["state_dict"]["tied"].data_ptr()
    assert first["state_dict"]["half"].shape == (1 << 15,)
    before = addresses(first)
    again = staging.copy(state_of(2.0, size=1 << 16))
    assert addresses(again) == before and staging.num_bytes == num_bytes
    assert again["state_dict"]["half"].eq(2).all()
    smaller = staging.copy({"state_dict": {"only": torch.ones(3)}})
    assert addresses(smaller) == before[:1]
    larger = staging.copy(state_of(size=1 << 18))
    assert larger["state_dict"]["tied"].eq(1).all()
    staging.release()


def test_tensors_of_other_kinds_are_copied_too():
    sparse = torch.eye(3).to_sparse()
    state = {"sparse": sparse, "conj": torch.ones(2, dtype=torch.complex64).conj() * 1j}
    state["view"] = state["conj"].conj()
    copied = Staging().copy(state)
    sparse.mul_(5)
    assert torch.equal(copied["sparse"].to_dense(), torch.eye(3))
    assert torch.equal(copied["view"], state["view"])


def test_parts_are_copied_without_what_surrounds_them():
    staging, whole = Staging(), torch.arange(1000.0)
    rest, (part, turned) = staging.copy_with_parts({"epoch": 1}, [whole[10:20], torch.eye(3).t()])
    assert staging.num_bytes == 10 * 4 + 9 * 4 and rest == {"epoch": 1}
    whole.zero_()
    assert part.tolist() == [float(i) for i in range(10, 20)] and torch.equal(turned, torch.eye(3))


def test_files_go_after_what_takes_their_place_is_there(tmp_path):
    writer = Slow()
    io = AsyncCheckpointIO(writer)
    (tmp_path / "old.ckpt").write_bytes(b"")
    io.save_checkpoint(state_of(), tmp_path / "new.ckpt")
    io.remove_checkpoint(tmp_path / "old.ckpt")
    acted = []
    io.after_saves(lambda: acted.append(list(writer.written)))
    assert (tmp_path / "old.ckpt").exists() and io.is_busy and not acted
    writer.may_write.set()
    io.settle()
    assert writer.removed == [("old.ckpt", ["new.ckpt"])] and acted == [["new.ckpt"]]
    assert os.listdir(tmp_path) == ["new.ckpt"]


def test_a_save_that_finds_the_writer_busy_waits_and_says_how_long(tmp_path, caplog):
    writer = Slow()
    io = AsyncCheckpointIO(writer)
    io.save_checkpoint(state_of(1.0), tmp_path / "a.ckpt")
    threading.Timer(0.3, writer.may_write.set).start()
    begin = time.monotonic()
    with caplog.at_level("INFO"):
        io.save_checkpoint(state_of(2.0), tmp_path / "b.ckpt")
    assert time.monotonic() - begin > 0.2
    (record,) = [r.message for r in caplog.records if "still being written" in r.message]
    assert float(record.split()[1]) > 0.2 and "b.ckpt" in record
    io.settle()
    for name, value in (("a", 1.0), ("b", 2.0)):
        found = io.load_checkpoint(tmp_path / f"{name}.ckpt")
        assert found["state_dict"]["weight"].tolist() == [value] * 4


def test_a_failure_is_told_once_and_what_came_after_it_is_not_done(tmp_path):
    io = AsyncCheckpointIO(Broken())
    (tmp_path / "old.ckpt").write_bytes(b"")
    io.save_checkpoint(state_of(), tmp_path / "new.ckpt")
    io.wait()
    assert isinstance(io.failure, OSError)
    io.remove_checkpoint(tmp_path / "old.ckpt")
    assert (tmp_path / "old.ckpt").exists()
    with pytest.raises(OSError, match="No space"):
        io.save_checkpoint(state_of(), tmp_path / "next.ckpt")
    io.settle()
    with pytest.raises(OSError, match="No space"):
        io.save_checkpoint(state_of(), tmp_path / "next.ckpt")
        io.teardown()
    io.teardown()


def test_what_cannot_be_written_is_said_at_once(tmp_path):
    io = AsyncCheckpointIO()
    with pytest.raises(CheckpointError, match=r"checkpoint\['code'\]"):
        io.save_checkpoint({"code": len}, tmp_path / "a.ckpt")
    with pytest.raises(TypeError, match="storage_options"):
        io.save_checkpoint({"a": 1}, tmp_path / "a.ckpt", storage_options={"x": 1})
    with pytest.raises(ValueError, match="when_busy='never'"):
        AsyncCheckpointIO(when_busy="never")


class OfUser(CheckpointIO):
    """Keeps objects as they are."""

    def __init__(self):
        self.kept = {}

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        self.kept[path] = checkpoint, storage_options

    def load_checkpoint(self, path, map_location=None, weights_only=None):
        return self.kept[path][0]

    def remove_checkpoint(self, path):
        del self.kept[path]


class Thing:
    def __init__(self):
        self.values = [1]


def test_a_checkpoint_io_of_the_user_gets_copies_of_objects_and_its_options():
    thing, lock = Thing(), threading.Lock()
    io = AsyncCheckpointIO(OfUser())
    io.save_checkpoint({"thing": thing, "lock": lock, "f": len}, "a", storage_options={"x": 1})
    thing.values.append(2)
    found = io.load_checkpoint("a")
    assert found["thing"].values == [1] and found["lock"] is lock and found["f"] is len
    assert io.checkpoint_io.kept["a"][1] == {"x": 1}


def test_on_demand_only_what_is_asked_for_is_done_in_the_background(tmp_path):
    writer = Slow()
    io = AsyncCheckpointIO.on_demand(writer)
    with io.background():
        io.save_checkpoint(state_of(), tmp_path / "a.ckpt")
        assert io.is_busy
    writer.may_write.set()
    io.save_checkpoint(state_of(), tmp_path / "b.ckpt")
    assert not io.is_busy and writer.written == ["a.ckpt", "b.ckpt"]


def test_no_thread_stays_and_it_travels_to_other_processes(tmp_path):
    before = threading.active_count()
    io = pickle.loads(pickle.dumps(AsyncCheckpointIO()))
    for epoch in range(3):
        io.save_checkpoint({"epoch": epoch}, tmp_path / "a.ckpt")
        io.settle()
    assert threading.active_count() == before
    assert io.load_checkpoint(tmp_path / "a.ckpt")["epoch"] == 2


def test_a_fork_while_the_writer_works_does_no_harm(tmp_path):
    writer = Slow()
    io = AsyncCheckpointIO(writer)
    io.save_checkpoint(state_of(size=1 << 16), tmp_path / "a.ckpt")
    child = os.fork()
    if child == 0:  # has no writer, and none of its memory
        busy = io.is_busy
        io.wait()
        os._exit(busy)
    assert os.waitpid(child, 0)[1] == 0
    writer.may_write.set()
    assert io.load_checkpoint(tmp_path / "a.ckpt")["epoch"] == 1
