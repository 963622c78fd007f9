"""A disk that is full, read-only or taken away: an error with a name, and what was there stays."""

import os
import resource
import shutil
import signal
import sys
import tempfile

import pytest
import torch
from tests.faults import trained
from tests.faults.test_kills import assert_same, held, left_by
from tests.faults.victims import temporary_files

from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.sharded import Party, read_any, save_sharded
from pytorch_lightning.utilities.exceptions import CheckpointError

NOBODY = 65534


def save(kind, path, epoch):
    content = {"epoch": epoch, "state_dict": {"w": torch.zeros(5000)}}
    if kind == "parts":
        save_sharded(content, path, Party())
    else:
        TorchCheckpointIO().save_checkpoint(content, path)


def allow(size):
    """Let no file of this process become larger."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def save_with_room(kind, path, room, pipe):
    allow(room)
    try:
        save(kind, path, 2)
    except CheckpointError as error:
        trained.tell(pipe, f"refused: {error}".replace("\n", " "))


@pytest.mark.parametrize("kind", ["a file", "parts"])
def test_a_disk_that_is_full_at_any_byte(kind, breeder, tmp_path, tally):
    folder = tmp_path / "saved"
    save(kind, folder / "a.ckpt", 1)
    size = max(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    for room in range(0, size, size // 20):
        task = (kind, str(folder / "a.ckpt"), room)
        victim = breeder.victim(save_with_room, *task, folder=tmp_path)
        victim.join()
        tally("disk full")
        [said] = victim.lines
        assert said.startswith("refused: ") and "a.ckpt" in said, victim.said()
        assert read_any(folder / "a.ckpt")["epoch"] == 1
        assert os.listdir(folder) == ["a.ckpt"]
    save(kind, folder / "a.ckpt", 3)
    assert read_any(folder / "a.ckpt")["epoch"] == 3


def train_until_full(home, way, saves, room, pipe):
    """Train, and have no room left from one save on."""
    begun = 0

    def listen(event, args):
        nonlocal begun
        if event == "open" and f"{trained.FOLDER}/.saving-" in str(args[0]):
            begun += 1
            if begun == saves:
                allow(room)

    sys.addaudithook(listen)
    try:
        trained.train(home, way, "auto", 1, pipe)
    except OSError as error:
        trained.tell(pipe, f"{type(error).__name__}: {error}".replace("\n", " "))


@pytest.fixture(scope="module")
def whole(breeder, tmp_path_factory):
    home = tmp_path_factory.mktemp("whole")
    victim = breeder.victim(trained.train, str(home), "windows", None, 1, folder=home)
    victim.join()
    assert "d" in victim.lines, victim.said()
    return left_by(home)


@pytest.mark.parametrize("saves", [3, 4, 5, 8])
def test_a_run_whose_disk_was_full_goes_on_when_there_is_room(
    saves, breeder, whole, tmp_path, tally
):
    task = (str(tmp_path), "windows", saves, 5000)
    victim = breeder.victim(train_until_full, *task, folder=tmp_path)
    victim.join()
    tally("disk full")
    [said] = [line for line in victim.lines if line.startswith("CheckpointWriteError")]
    assert ".ckpt" in said and "File too large" in said
    assert len(held(tmp_path)) >= 1  # all of them whole
    assert temporary_files(tmp_path) == []
    victim = breeder.victim(trained.train, str(tmp_path), "windows", "auto", 2, folder=tmp_path)
    victim.join()
    assert "d" in victim.lines, victim.said()
    assert_same(left_by(tmp_path), whole)


def save_as_nobody(path, pipe):
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        save("a file", path, 2)
    except OSError as error:
        trained.tell(pipe, f"{type(error).__name__}: {error}")


def test_a_read_only_folder(breeder, tmp_path, tally):
    folder = tmp_path / "saved"
    save("a file", folder / "a.ckpt", 1)
    folder.chmod(0o555)
    victim = breeder.victim(save_as_nobody, str(folder / "a.ckpt"), folder=tmp_path)
    victim.join()
    folder.chmod(0o755)
    tally("folder that is read-only")
    [said] = victim.lines
    assert said.startswith("CheckpointWriteError") and "a.ckpt" in said
    assert "Permission denied" in said
    assert read_any(folder / "a.ckpt")["epoch"] == 1 and os.listdir(folder) == ["a.ckpt"]


def train_without_folder(home, way, saves, pipe):
    """Train, and take the folder away before one of the saves."""
    begun = 0

    def listen(event, args):
        nonlocal begun
        if event == "os.mkdir" and str(args[0]).endswith(trained.FOLDER):
            return
        if event == "open" and f"{trained.FOLDER}/.saving-" in str(args[0]):
            begun += 1
            if begun == saves:
                shutil.rmtree(os.path.join(home, trained.FOLDER))

    sys.addaudithook(listen)
    try:
        trained.train(home, way, "auto", 1, pipe)
    except OSError as error:
        trained.tell(pipe, f"{type(error).__name__}: {error}".replace("\n", " "))


@pytest.mark.parametrize("saves", [3, 4])
def test_a_folder_that_is_taken_away_in_a_save_is_an_error(saves, breeder, tmp_path, tally):
    task = (str(tmp_path), "windows", saves)
    victim = breeder.victim(train_without_folder, *task, folder=tmp_path)
    victim.join()
    tally("folder taken away")
    [said] = [line for line in victim.lines if line.startswith("CheckpointWriteError")]
    assert ".ckpt" in said and "No such file" in said


def test_a_folder_that_is_taken_away_between_saves_is_made_anew(tmp_path, tally):
    folder = tmp_path / "saved"
    for epoch in (1, 2):
        save("a file", folder / "a.ckpt", epoch)
        assert read_any(folder / "a.ckpt")["epoch"] == epoch
        tally("folder taken away")
        shutil.rmtree(folder)
    save("parts", folder / "a.ckpt", 3)
    assert read_any(folder / "a.ckpt")["epoch"] == 3


@pytest.mark.parametrize("kind", ["a file", "parts"])
def test_a_file_where_the_folder_should_be(kind, tmp_path, tally):
    (tmp_path / "saved").write_text("mine")
    tally("file in place of the folder")
    with pytest.raises(CheckpointError, match=r"saved.*a\.ckpt"):
        save(kind, tmp_path / "saved" / "a.ckpt", 1)
    assert (tmp_path / "saved").read_text() == "mine"


@pytest.mark.parametrize("temporary", ["/dev/shm", "/nowhere"])
def test_the_folder_for_temporary_files_is_not_used(temporary, breeder, tmp_path, tally):
    tally("TMPDIR on another file system")
    victim = breeder.victim(save_elsewhere, str(tmp_path / "saved"), temporary, folder=tmp_path)
    victim.join()
    assert victim.lines == ["done"], (victim.lines, victim.said())
    assert sorted(os.listdir(tmp_path / "saved")) == ["a.ckpt", "parts.ckpt"]


def save_elsewhere(folder, temporary, pipe):
    os.environ["TMPDIR"] = temporary
    tempfile.tempdir = None

    def listen(event, args):
        if event not in ("open", "os.rename"):
            return
        makes = event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT
        named = isinstance(args[0], str) and not args[0].startswith(folder)
        if (makes or event == "os.rename") and named:
            trained.tell(pipe, f"{event} {args[0]}")

    sys.addaudithook(listen)
    save("a file", os.path.join(folder, "a.ckpt"), 1)
    save("parts", os.path.join(folder, "parts.ckpt"), 1)
    trained.tell(pipe, "done")
