"""A process that dies before any single thing that it asks of the file system, or within a write.

After each death the old content or the new one is there, whole, under its name.
"""

import os
import resource
import shutil
import signal
import sys

import pytest
import torch
from tests.faults.victims import temporary_files

from pytorch_lightning.callbacks.checkpoint_files import copy_file, link_file, write_scores
from pytorch_lightning.checkpoint.atomic import remove_leftovers, replace_with_folder
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.sharded import Party, read_any, save_sharded
from pytorch_lightning.core.hparams_files import load_hparams_from_yaml, save_hparams_to_yaml

NAME = "a.ckpt"
EVENTS = ("open", "os.rename", "os.mkdir", "os.symlink", "os.link")
REMOVALS = ("os.remove", "os.rmdir")  # within folders, so by bare names
OLD, NEW = 1, 2


def content(epoch):
    return {"epoch": epoch, "state_dict": {"w": torch.full((100,), float(epoch))}}


def one_file(epoch, path):
    TorchCheckpointIO().save_checkpoint(content(epoch), path)


def parts(epoch, path):
    save_sharded(content(epoch), path, Party())


def copied(epoch, path):
    one_file(epoch, f"{path}-{epoch}")
    copy_file(f"{path}-{epoch}", str(path))


def linked(epoch, path):
    one_file(epoch, f"{path}-{epoch}")
    link_file(f"{path}-{epoch}", str(path))


def parts_linked(epoch, path):
    parts(epoch, f"{path}-{epoch}")
    link_file(f"{path}-{epoch}", str(path))


def parts_copied(epoch, path):
    parts(epoch, f"{path}-{epoch}")
    replace_with_folder(str(path), f"{path}-{epoch}")


def scores(epoch, path):
    write_scores({"w": epoch}, path)


def hparams(epoch, path):
    save_hparams_to_yaml(path, {"w": epoch})


def epoch_of(path):
    return read_any(path)["epoch"]


def written_epoch(path):
    return int(load_hparams_from_yaml(path, use_omegaconf=False)["w"])


# who writes the old content, who the new one, and who reads
SAVES = {
    "a first file": (None, one_file, epoch_of),
    "a file": (one_file, one_file, epoch_of),
    "parts": (parts, parts, epoch_of),
    "parts over a file": (one_file, parts, epoch_of),
    "a file over parts": (parts, one_file, epoch_of),
    "a copy": (one_file, copied, epoch_of),
    "a link": (linked, linked, epoch_of),
    "a link over a file": (one_file, linked, epoch_of),
    "a link over parts": (parts, parts_linked, epoch_of),
    "parts over a link": (parts_linked, parts, epoch_of),
    "a copy of parts": (parts, parts_copied, epoch_of),
    "scores": (scores, scores, written_epoch),
    "hparams": (hparams, hparams, written_epoch),
}


def save(how, epoch, folder, die_at, swaps, pipe):
    """Save, and die before a certain request; tell each request otherwise."""
    if not swaps:
        forbid_swaps()
    count = 0

    def asked(what):
        nonlocal count
        if count == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        os.write(pipe, f"{what}\n".encode())

    def listen(event, args):
        if event in REMOVALS or event in EVENTS and folder in str(args[0]):
            asked(f"{event} {args[0]}")
        elif event == "ctypes.dlopen":
            asked("swap")

    def sync(descriptor, original=os.fsync):
        place = os.readlink(f"/proc/self/fd/{descriptor}")
        asked(f"fsync {place}")
        original(descriptor)

    os.fsync = sync
    sys.addaudithook(listen)
    how(epoch, os.path.join(folder, NAME))
    os.write(pipe, b"done\n")


def forbid_swaps():
    """Make this process one on a system that cannot swap two names."""
    import ctypes

    def refuse(*args, **kwargs):
        raise OSError("no library")

    ctypes.CDLL = refuse


def removal(epoch, path):
    TorchCheckpointIO().remove_checkpoint(path)


def prepare(folder, old):
    folder.mkdir()
    if old is not None:
        old(OLD, folder / NAME)


CASES = [(kind, swaps) for kind in SAVES for swaps in (True, False) if swaps or "parts" in kind]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "swaps"), CASES)
def test_a_death_before_any_request(kind, swaps, breeder, tmp_path, tally):
    die_at_requests(kind, swaps, 1, breeder, tmp_path, tally)


@pytest.mark.parametrize(
    ("kind", "swaps"), [("a file", True), ("a link", True), ("parts", True), ("parts", False)]
)
def test_a_death_before_some_request(kind, swaps, breeder, tmp_path, tally):
    die_at_requests(kind, swaps, 5, breeder, tmp_path, tally)


def die_at_requests(kind, swaps, every, breeder, tmp_path, tally):
    """Die before each `every`-th request of a save, and look at what is there."""
    old, new, read = SAVES[kind]
    before = None if old is None else OLD
    found = []
    for folder, lines in deaths(old, new, NEW, swaps, every, breeder, tmp_path, tally):
        if not swaps:
            remove_leftovers(str(folder))
        there = os.path.lexists(folder / NAME)
        found.append(read(folder / NAME) if there else None)
        assert there or old is None, lines
        new(NEW, folder / NAME)
        assert read(folder / NAME) == NEW
        assert temporary_files(folder) == []
    assert found[0] == before
    assert set(found) <= {before, NEW}
    assert found == sorted(found, key=lambda epoch: epoch or 0)  # once new, always new


def deaths(old, how, epoch, swaps, every, breeder, tmp_path, tally):
    """The folder after each death before a request, and the requests until then."""
    model = tmp_path / "model"
    prepare(model, old)
    for number in (-1, *range(0, 1000, every)):
        folder = tmp_path / f"at {number}"
        shutil.copytree(model, folder, symlinks=True)
        task = (how, epoch, str(folder), number, swaps)
        victim = breeder.victim(save, *task, folder=tmp_path)
        victim.join()
        if number == -1:
            assert victim.lines[-1:] == ["done"], victim.said()
            requests = len(victim.lines) - 1
            assert requests >= 3
        elif number >= requests:
            assert victim.lines[-1:] == ["done"], victim.said()
            return
        else:
            tally("SIGKILL before a request to the file system")
            assert "done" not in victim.lines
            yield folder, victim.lines


def test_parts_are_removed_at_once(breeder, tmp_path, tally):
    found = []
    for folder, _ in deaths(parts, removal, 0, True, 2, breeder, tmp_path, tally):
        there = (folder / NAME).exists()
        found.append(there)
        assert not there or epoch_of(folder / NAME) == OLD
        one_file(NEW, folder / "next.ckpt")
        assert temporary_files(folder) == []
    assert found[0] and not found[-1]


@pytest.mark.parametrize("kind", ["a file", "parts", "a file over parts", "parts over a file"])
def test_content_is_on_the_disk_before_it_gets_its_name(kind, breeder, tmp_path):
    old, new, _ = SAVES[kind]
    folder = tmp_path / "saved"
    prepare(folder, old)
    victim = breeder.victim(save, new, NEW, str(folder), -1, True, folder=tmp_path)
    victim.join()
    lines = victim.lines
    after = lines.index(f"fsync {folder}")
    moves = [i for i, line in enumerate(lines) if line == "swap" or line.startswith("os.rename")]
    move = max(i for i in moves if i < after)
    done = {
        verb: {line.split(" ", 1)[1] for line in lines[:move] if line.startswith(f"{verb} ")}
        for verb in ("open", "fsync")
    }
    written = {name for name in done["open"] if ".saving-" in name}
    assert written and written <= done["fsync"]


def within_a_write(how, epoch, folder, size, pipe):
    """Save where the kernel ends a process that makes a file larger than that."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    how(epoch, os.path.join(folder, NAME))
    os.write(pipe, b"done\n")


@pytest.mark.parametrize("kind", ["a file", "parts", "scores", "hparams"])
def test_a_death_at_any_byte_leaves_the_old(kind, breeder, tmp_path, tally):
    old, new, read = SAVES[kind]
    folder = tmp_path / "saved"
    prepare(folder, old)
    size = max(f.stat().st_size for f in folder.rglob("*") if f.is_file()) or 100
    for limit in range(0, size, max(1, size // 12)):
        task = (new, NEW, str(folder), limit)
        victim = breeder.victim(within_a_write, *task, folder=tmp_path)
        victim.join()
        tally("a death within a write")
        assert "done" not in victim.lines
        assert read(folder / NAME) == OLD
    new(NEW, folder / NAME)
    assert read(folder / NAME) == NEW and temporary_files(folder) == []
