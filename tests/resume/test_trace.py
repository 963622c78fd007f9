"""A run that dies and one that resumes do together what one run does: hooks, values, files."""

import json
import multiprocessing
import os
import re
import sys

import pytest
import torch._dynamo  # noqa: F401 - seconds, once and not in each process
from tests.resume import matrix
from tests.resume.matrix import Net, Trace, loader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger

FORK = multiprocessing.get_context("fork")


class Journal(list):
    """Writes each event into a file as it comes; a process that dies has said all before."""

    def __init__(self, path):
        super().__init__()
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def append(self, event):
        os.write(self.file, (json.dumps(event) + "\n").encode())


class Death:
    """Ends the process without a word, after so many files called `last`."""

    def __init__(self, after):
        self.left = after

    def saw(self, event):
        if event[1] != "os.remove":  # the next callback writes what the last file says it will
            self.come_if_due()
        self.left -= event == ["file", "os.rename", "steps/last.ckpt"]

    def come_if_due(self):
        if self.left == 0:
            os._exit(9)


class Marks(Trace):
    """The hooks, in front of all other callbacks."""

    def __init__(self, story, death):
        super().__init__(story)
        self.death = death


def _mark(name):
    told = getattr(Trace, name)

    def hook(self, trainer, module, *args, **kwargs):
        self.death.come_if_due()
        told(self, trainer, module, *args, **kwargs)

    return hook


for _name in matrix.TRACED:
    setattr(Marks, _name, _mark(_name))


def watch_files(folder, tell):
    """Tell of every file and folder in a folder that is made, replaced or removed."""
    folder = str(folder)

    def name_of(path):
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(folder + os.sep):
            return None
        return path[len(folder) + 1 :]

    def hook(event, args):
        if event == "open":
            path, mode, flags = args
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            event = f"open {mode}"
        elif event not in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link"):
            return
        if event in ("os.remove", "os.rmdir") and not os.path.lexists(args[0]):
            return  # a run that resumes makes sure of what the one before may have left undone
        name = name_of(args[1] if event in ("os.rename", "os.link") else args[0])
        # event files of TensorBoard are written by the clock
        if name is not None and not os.path.basename(name).startswith((".", "events.out")):
            tell(["file", event, name])

    sys.addaudithook(hook)


def run(folder, journal, *, seed=None, dies_after=-1, ckpt_path=None):
    """Train with rows in two formats, the best files, the last one and one of each step."""
    if seed is not None:
        pl.seed_everything(seed, verbose=False)
    module = Net()
    story = module.story
    story.events = Journal(journal)
    death = Death(dies_after)
    best = ModelCheckpoint(
        folder / "best", "{epoch}-{step}-{val_loss:.3f}", "val_loss", save_top_k=2
    )
    steps = ModelCheckpoint(folder / "steps", save_last=True, every_n_train_steps=1, save_top_k=1)
    trainer = pl.Trainer(
        default_root_dir=folder,
        accelerator="cpu",
        logger=[
            CSVLogger(folder, name="csv", version=0),
            TensorBoardLogger(folder, name="board", version=0),
            matrix.Rows(story),
        ],
        callbacks=[
            Marks(story, death),
            best,
            steps,
            EarlyStopping("val_loss", patience=9),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        max_epochs=3,
        val_check_interval=2,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
    )
    story.rows = story.events

    def tell(event):
        death.saw(event)
        story.events.append(event)

    watch_files(folder, tell)
    trainer.fit(module, loader(7), loader(3, shuffle=False), ckpt_path=ckpt_path)


def in_process(*args, **kwargs):
    process = FORK.Process(target=run, args=args, kwargs=kwargs)
    process.start()
    process.join(60)
    return process.exitcode


def read(path):
    """The events of a journal, from the first mark."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return events[events.index("on_train_start") + 1 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert in_process(folder / "run", folder / "journal", seed=1) == 0
    return folder


def files(folder):
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.*")}
    return {re.sub(r"events\.out.*", "events", name) for name in found}


def check(whole, batch, folder):
    assert in_process(folder / "run", folder / "first", seed=1, dies_after=batch) == 9
    last = folder / "run" / "steps" / "last.ckpt"
    assert in_process(folder / "run", folder / "second", ckpt_path=last) == 0
    told = read(folder / "first") + read(folder / "second")
    matrix.assert_same_list(read(whole / "journal"), told, batch)
    assert files(folder / "run") == files(whole / "run")
    rows = "csv/version_0/metrics.csv"
    assert (folder / "run" / rows).read_text() == (whole / "run" / rows).read_text()


@pytest.mark.parametrize("batch", [1, 4, 8, 11])
def test_dying_after_a_batch_and_resuming(whole, batch, tmp_path, tally):
    tally("death after a batch")
    check(whole, batch, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("batch", [2, 3, 5, 6, 7, 9, 10, 12])
def test_dying_after_every_other_batch_and_resuming(whole, batch, tmp_path, tally):
    tally("death after a batch")
    check(whole, batch, tmp_path)
