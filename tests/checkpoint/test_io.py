"""Files that are there whole or not at all."""

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
import uuid

import pytest
import torch

from pytorch_lightning.checkpoint.atomic import remove_leftovers, replace_file
from pytorch_lightning.checkpoint.io import CheckpointIO, TorchCheckpointIO, _WrappingCheckpointIO
from pytorch_lightning.checkpoint.reader import read_checkpoint, verify_checkpoint
from pytorch_lightning.utilities.exceptions import CheckpointError

SMALL = {"epoch": 1, "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)}}


def files(folder):
    return sorted(os.listdir(folder))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    path = tmp_path / "deep" / "er" / "a.ckpt"
    io = TorchCheckpointIO()
    io.save_checkpoint(SMALL, path)
    loaded = io.load_checkpoint(path)
    assert loaded["epoch"] == 1
    assert torch.equal(loaded["state_dict"]["weight"], SMALL["state_dict"]["weight"])
    assert files(path.parent) == ["a.ckpt"]


def test_torch_reads_the_file_safely_and_mapped(tmp_path):
    path = tmp_path / "a.ckpt"
    TorchCheckpointIO().save_checkpoint(SMALL, path)
    for mmap in (False, True):
        loaded = torch.load(path, weights_only=True, mmap=mmap)
        assert torch.equal(loaded["state_dict"]["weight"], SMALL["state_dict"]["weight"])


@pytest.mark.parametrize("options", [{}, {"a": 1}, 0])
def test_storage_options_are_refused(tmp_path, options):
    with pytest.raises(TypeError, match="`storage_options="):
        TorchCheckpointIO().save_checkpoint(SMALL, tmp_path / "a.ckpt", options)
    assert files(tmp_path) == []


def test_torch_save_is_looked_up_when_it_is_called(tmp_path, monkeypatch):
    calls, original = [], torch.save
    monkeypatch.setattr(torch, "save", lambda *a, **k: (calls.append(a[0]), original(*a, **k))[1])
    TorchCheckpointIO().save_checkpoint(SMALL, tmp_path / "a.ckpt")
    assert len(calls) == 1
    assert set(calls[0]) == set(SMALL)


def test_an_old_format_chosen_by_a_wrapper_is_written_and_read(tmp_path, monkeypatch):
    original = torch.save
    monkeypatch.setattr(
        torch, "save", lambda *a: original(*a, _use_new_zipfile_serialization=False)
    )
    TorchCheckpointIO().save_checkpoint(SMALL, tmp_path / "a.ckpt")
    loaded = read_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(loaded["state_dict"]["weight"], SMALL["state_dict"]["weight"])


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    TorchCheckpointIO().save_checkpoint(SMALL, tmp_path / "a.ckpt")
    (tmp_path / "b").write_bytes(b"")
    assert (tmp_path / "a.ckpt").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_a_link_is_replaced_and_not_followed(tmp_path):
    io = TorchCheckpointIO()
    io.save_checkpoint({"epoch": 1}, tmp_path / "first.ckpt")
    (tmp_path / "last.ckpt").symlink_to("first.ckpt")
    io.save_checkpoint({"epoch": 2}, tmp_path / "last.ckpt")
    assert io.load_checkpoint(tmp_path / "first.ckpt")["epoch"] == 1
    assert io.load_checkpoint(tmp_path / "last.ckpt")["epoch"] == 2


def test_remove_takes_files_folders_links_and_nothing(tmp_path):
    io = TorchCheckpointIO()
    io.save_checkpoint(SMALL, tmp_path / "a.ckpt")
    (tmp_path / "link.ckpt").symlink_to("a.ckpt")
    (tmp_path / "sharded.ckpt").mkdir()
    (tmp_path / "sharded.ckpt" / "x").write_bytes(b"1")
    for name in ("link.ckpt", "sharded.ckpt", "missing.ckpt"):
        io.remove_checkpoint(tmp_path / name)
    assert files(tmp_path) == ["a.ckpt"]
    io.remove_checkpoint(str(tmp_path / "a.ckpt"))
    assert files(tmp_path) == []


def test_a_link_to_a_folder_is_removed_and_the_folder_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    TorchCheckpointIO().remove_checkpoint(tmp_path / "link")
    assert files(tmp_path) == ["folder"]


def test_urls_are_written_read_and_removed(tmp_path):
    io, name = TorchCheckpointIO(), uuid.uuid4().hex
    for url in (f"memory://{name}/x/a.ckpt", f"file://{tmp_path}/a.ckpt", f"local://{tmp_path}/b"):
        io.save_checkpoint(SMALL, url)
        io.save_checkpoint({**SMALL, "epoch": 2}, url)
        assert io.load_checkpoint(url)["epoch"] == 2
        io.remove_checkpoint(url)
        with pytest.raises(FileNotFoundError):
            io.load_checkpoint(url)
    assert files(tmp_path) == []


def test_a_failing_remote_write_keeps_the_old_file(monkeypatch):
    fsspec = pytest.importorskip("fsspec")
    url = f"memory://{uuid.uuid4().hex}/a.ckpt"
    io = TorchCheckpointIO()
    io.save_checkpoint(SMALL, url)
    memory = fsspec.filesystem("memory")

    def fail(*args, **kwargs):
        raise OSError(5, "the store went away")

    with monkeypatch.context() as patch:
        patch.setattr(type(memory), "mv", fail)
        with pytest.raises(CheckpointError, match="the store went away"):
            io.save_checkpoint({"epoch": 9}, url)
    assert io.load_checkpoint(url)["epoch"] == 1
    folder = url.rpartition("/")[0].removeprefix("memory://")
    assert [entry.rpartition("/")[2] for entry in memory.ls(folder, detail=False)] == ["a.ckpt"]


def test_what_is_no_data_is_refused_before_anything_is_written(tmp_path):
    io = TorchCheckpointIO()
    io.save_checkpoint(SMALL, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"checkpoint\['callbacks'\]\['Mine'\]\['net'\]"):
        io.save_checkpoint({"callbacks": {"Mine": {"net": torch.nn.ReLU()}}}, tmp_path / "a.ckpt")
    assert io.load_checkpoint(tmp_path / "a.ckpt")["epoch"] == 1
    assert files(tmp_path) == ["a.ckpt"]


def test_an_error_inside_torch_save_keeps_the_old_file(tmp_path, monkeypatch):
    io = TorchCheckpointIO()
    io.save_checkpoint(SMALL, tmp_path / "a.ckpt")

    def fail(checkpoint, file):
        file.write(b"half of it")
        raise RuntimeError("in the middle")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        io.save_checkpoint({"epoch": 2}, tmp_path / "a.ckpt")
    assert io.load_checkpoint(tmp_path / "a.ckpt")["epoch"] == 1
    assert files(tmp_path) == ["a.ckpt"]


def test_a_folder_that_is_none_is_an_error_that_names_the_path(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"file/a\.ckpt") as caught:
        TorchCheckpointIO().save_checkpoint(SMALL, tmp_path / "file" / "a.ckpt")
    assert isinstance(caught.value, CheckpointError)
    assert caught.value.errno is not None


def test_a_full_disk_is_an_error_and_keeps_the_old_file(tmp_path):
    io, path = TorchCheckpointIO(), tmp_path / "a.ckpt"
    io.save_checkpoint(SMALL, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for room in (0, 1, 1000, 100_000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
            with pytest.raises(CheckpointError, match=r"a\.ckpt.*File too large") as caught:
                io.save_checkpoint({"big": torch.zeros(100_000)}, path)
            assert isinstance(caught.value, OSError)
            assert files(tmp_path) == ["a.ckpt"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert io.load_checkpoint(path)["epoch"] == 1


def test_leftovers_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    names = []

    def write(file):
        names.extend(files(tmp_path))
        file.write(b"x")

    replace_file(str(tmp_path / "a"), write)
    mine = names[0]
    assert mine.startswith(".saving-")
    host = mine.removeprefix(".saving-").split("-")[0]
    dead = f".saving-{host}-{child.pid}-00.part"
    earlier = f".saving-{host}-{os.getpid()}-00.part"  # a process with the same number
    living = f".saving-{host}-{os.getppid()}-00.part"
    elsewhere = f".saving-another_{host}-{child.pid}-00.part"
    for name in (dead, earlier, living, elsewhere, ".saving-odd.part", "user.part"):
        (tmp_path / name).write_bytes(b"")
    assert sorted(remove_leftovers(str(tmp_path))) == sorted([dead, earlier])
    (tmp_path / dead).write_bytes(b"")
    TorchCheckpointIO().save_checkpoint(SMALL, tmp_path / "b.ckpt")
    expected = [living, elsewhere, ".saving-odd.part", "a", "b.ckpt", "user.part"]
    assert files(tmp_path) == sorted(expected)


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    program = textwrap.dedent(
        """
        import sys, torch
        from pytorch_lightning.checkpoint.io import TorchCheckpointIO
        io, weights = TorchCheckpointIO(), torch.zeros(300_000)
        for step in range(10**9):
            io.save_checkpoint({"step": step, "w": weights.fill_(step)}, sys.argv[1])
            print(step, flush=True)
        """
    )
    path, done = tmp_path / "a.ckpt", 0
    for round_ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
        )
        child.stdout.readline()
        time.sleep(0.01 + 0.013 * round_)
        child.kill()
        lines = child.communicate()[0].split()
        done = int(lines[-1]) if lines else 0
        loaded = read_checkpoint(path)
        assert loaded["step"] in (done, done + 1)
        assert bool((loaded["w"] == loaded["step"]).all())
    TorchCheckpointIO().save_checkpoint(SMALL, path)
    assert files(tmp_path) == ["a.ckpt"]


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    TorchCheckpointIO().save_checkpoint(SMALL, path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        torn = bytearray(whole)
        torn[at] ^= 1 << (at % 8)
        path.write_bytes(torn)
        with pytest.raises(CheckpointError, match=r"a\.ckpt"):
            verify_checkpoint(path)


def test_every_torn_file_is_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    TorchCheckpointIO().save_checkpoint(SMALL, path)
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 5), len(whole) - 1]:
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"a\.ckpt"):
            verify_checkpoint(path)


def test_flipped_numbers_in_a_file_without_a_hash_are_noticed(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save({"w": torch.arange(1000)}, path)
    torn = bytearray(path.read_bytes())
    torn[torn.index(torch.arange(1000).numpy().tobytes()) + 77] ^= 4
    path.write_bytes(torn)
    torch.load(path, weights_only=True)  # which does not notice
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)


def test_a_file_without_check_sums_is_read(tmp_path):
    compute = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(SMALL, tmp_path / "a.ckpt")
    finally:
        torch.serialization.set_crc32_options(compute)
    assert read_checkpoint(tmp_path / "a.ckpt")["epoch"] == 1


def test_shared_memory_stays_shared(tmp_path):
    base = torch.arange(10.0)
    TorchCheckpointIO().save_checkpoint({"a": base, "b": base[2:4]}, tmp_path / "a.ckpt")
    loaded = read_checkpoint(tmp_path / "a.ckpt")
    loaded["a"][2] = 99
    assert loaded["b"][0] == 99


class Counting(_WrappingCheckpointIO):
    saves = 0

    def save_checkpoint(self, *args, **kwargs):
        self.saves += 1
        super().save_checkpoint(*args, **kwargs)


def test_a_wrapper_hands_on(tmp_path):
    io = Counting(TorchCheckpointIO())
    io.save_checkpoint(SMALL, tmp_path / "a.ckpt")
    assert io.saves == 1
    assert io.load_checkpoint(tmp_path / "a.ckpt")["epoch"] == 1
    io.remove_checkpoint(tmp_path / "a.ckpt")
    assert files(tmp_path) == []
    io.teardown()


def test_a_wrapper_without_a_worker_says_so(tmp_path):
    io = Counting()
    io.teardown()
    with pytest.raises(RuntimeError, match=r"`Counting\(checkpoint_io=None\)`"):
        io.save_checkpoint(SMALL, tmp_path / "a.ckpt")
    io.checkpoint_io = TorchCheckpointIO()
    io.save_checkpoint(SMALL, tmp_path / "a.ckpt")
    assert files(tmp_path) == ["a.ckpt"]


def test_the_contract_is_abstract():
    assert CheckpointIO.__abstractmethods__ == {
        "save_checkpoint",
        "load_checkpoint",
        "remove_checkpoint",
    }
    assert TorchCheckpointIO().teardown() is None


def test_a_tilde_is_the_home_for_who_writes_and_who_reads(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    io = TorchCheckpointIO()
    io.save_checkpoint({"epoch": 3}, "~/kept/a.ckpt")
    assert (tmp_path / "kept" / "a.ckpt").is_file()
    assert io.load_checkpoint("~/kept/a.ckpt") == {"epoch": 3}
    io.remove_checkpoint("~/kept/a.ckpt")
    assert not (tmp_path / "kept" / "a.ckpt").exists()
