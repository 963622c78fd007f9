"""A run that dies between any two file operations, and goes on, leaves what others leave.

Policies are drawn at random: how many are kept, by which score, how often, the last one or not, one
callback or two in one folder, names that collide. The score is a function of the weights, so that
each file that stays can be held against its name. Foreign files lie in the same folder.
"""

import contextlib
import math
import os
import random
import re
import shutil
import sys
import threading
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.newest import newest_valid

EVENTS = ("os.rename", "os.remove", "os.symlink", "os.rmdir")
STEPS = 8  # two epochs of four


class Killed(BaseException):
    """Nothing of a dead process can stop this."""


class Scythe:
    """Lets a process do a number of things to files in a folder, and nothing after that."""

    def __init__(self) -> None:
        self.folder, self.left, self.done = None, math.inf, 0
        sys.addaudithook(self.hear)

    def hear(self, event, args) -> None:
        if self.folder is None or not args or not isinstance(args[0], str | Path):
            return
        writes = event == "open" and isinstance(args[2], int) and args[2] & os.O_CREAT
        if (event in EVENTS or writes) and str(args[0]).startswith(self.folder):
            if self.left <= 0:
                raise Killed
            self.left -= 1
            self.done += 1

    def over(self, folder, left=math.inf):
        self.folder, self.left, self.done = str(folder), left, 0


@pytest.fixture(scope="module")
def scythe():
    scythe = Scythe()
    yield scythe
    scythe.folder = None


class Counter(pl.LightningModule):
    """Its one weight is the number of steps; its score is looked up by it."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores
        self.weight = nn.Parameter(torch.zeros(()))

    def training_step(self, batch, batch_idx):
        return -self.weight

    def on_train_batch_end(self, *_):
        self.log("now", self.score())

    def validation_step(self, batch, batch_idx):
        self.log("score", self.score())

    def score(self):
        return torch.tensor(self.scores[int(self.weight.detach())])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1.0)


def drawn(seed):
    """A policy: the scores, and the arguments of the callbacks and the trainer."""
    rng = random.Random(seed)
    scores = [rng.choice([0.1, 0.2, 0.3, 0.4, math.nan]) for _ in range(STEPS + 1)]
    interval = rng.choice([1, 2, 4])
    callbacks = []
    for number in range(rng.choice([1, 1, 2])):
        monitor = rng.choice([None, "now", "score"])
        every = interval if monitor == "score" else number + 1 + rng.randrange(2)
        some = rng.choice(["{step}", f"{{step}}-{{{monitor}:.1f}}" if monitor else "{epoch}"])
        callbacks.append(
            {
                "monitor": monitor,
                "mode": rng.choice(["min", "max"]),
                "save_top_k": rng.choice([-1, 0, 1, 2, 3] if monitor else [-1, 0, 1]),
                "save_last": rng.choice([None, True, "link"]),
                "filename": rng.choice([None, some, f"{'xy'[number]}", "x"]),
                **rng.choice([{"every_n_train_steps": every}, {}]),
            }
        )
    trainer = {"val_check_interval": interval, "max_epochs": 2}
    return scores, callbacks, trainer


def fit(folder, policy, ckpt_path=None):
    scores, callbacks, arguments = policy
    trainer = pl.Trainer(
        callbacks=[ModelCheckpoint(folder, **options) for options in callbacks],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1,
        accelerator="cpu",
        **arguments,
    )
    rows = DataLoader(torch.zeros(STEPS // 2))
    trainer.fit(Counter(scores), rows, rows, ckpt_path=ckpt_path)
    return trainer


def add_foreign_files(folder, policy):
    """Files of another run, which have names that this one uses, and what is no checkpoint."""
    folder.mkdir()
    scores, callbacks, _ = policy
    other = folder.parent / f"{folder.name}-other"
    fit(other, (scores, callbacks[:1], {"limit_train_batches": 1, "max_epochs": 1}))
    for path in other.glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        torch.save({**content, "global_step": 0}, folder / path.name)
    (folder / "step=2.ckpt").write_text("not a checkpoint")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def held(folder, foreign):
    """The state in each file, by its name; foreign ones must be as they were."""
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name in foreign:
            assert path.read_bytes() == foreign[path.name], path.name
            continue
        content = torch.load(path, weights_only=True)
        files[path.name] = content["global_step"], os.path.islink(path)
    return files


def check_names(folder, foreign, scores):
    """What a name says is true of the weights in the file."""
    for path in folder.iterdir():
        if path.name in foreign:
            continue
        content = torch.load(path, weights_only=True)
        step = int(content["state_dict"]["weight"])
        said = dict(re.findall(r"(step|now|score)=([\d.]+|inf|nan)(?=[-.])", path.stem + "."))
        if "step" in said:
            assert int(said["step"]) == step == content["global_step"], path.name
        for name in said.keys() - {"step"}:
            assert said[name] == f"{scores[step]:.1f}", path.name


def check_records(trainer, folder, scores):
    for callback in trainer.checkpoint_callbacks:
        for path, score in callback.best_k_models.items():
            step = torch.load(path, weights_only=True)["global_step"]
            worst = math.inf if callback.mode == "min" else -math.inf
            expected = worst if math.isnan(scores[step]) else scores[step]
            assert score == pytest.approx(expected), path
        for name in (callback.best_model_path, callback.last_model_path):
            assert not name or os.path.exists(name)


def own_files(folder, foreign):
    return [str(path) for path in folder.glob("*.ckpt") if path.name not in foreign]


def go_on(folder, policy, foreign, word):
    """Start again as a user would; from nothing where nothing was saved yet."""
    files = own_files(folder, foreign)
    if word == "last":
        files = [name for name in files if os.path.basename(name).startswith("last")]
    found = newest_valid(files, training=True).found
    if found is None:
        return fit(folder, policy)
    return fit(folder, policy, word if word != "path" else found.path)


def bury():
    """What a dead process handed over is not done any more."""
    for thread in threading.enumerate():
        if thread.name == "checkpoint writer":
            thread.join()


def survive(scythe, tmp_path, seed, tally, most=math.inf, in_background=False):
    """Kill a policy before each of its file operations, or at some of them."""
    policy = drawn(seed)
    for options in policy[1]:
        options["async_save"] = in_background
    rng = random.Random(seed)
    whole = tmp_path / f"{seed}-whole"
    foreign = add_foreign_files(whole, policy)
    scythe.over(whole)
    trainer = fit(whole, policy)
    total = scythe.done
    expected = held(whole, foreign)
    check_names(whole, foreign, policy[0])
    check_records(trainer, whole, policy[0])
    moments = range(total)
    for moment in rng.sample(moments, int(min(most, total))):
        folder = tmp_path / f"{seed}-{moment}"
        folder.mkdir()
        for name, content in foreign.items():
            (folder / name).write_bytes(content)
        for again in range(rng.choice([1, 1, 2])):
            scythe.over(folder, moment if not again else rng.randrange(total))
            tally(f"kill between file operations{' in the background' * in_background}")
            with contextlib.suppress(Killed):
                go_on(folder, policy, foreign, "auto")
            bury()
        scythe.over(folder)
        trainer = go_on(folder, policy, foreign, "auto")
        found = held(folder, foreign)
        assert found == expected, (seed, moment, policy)
        check_names(folder, foreign, policy[0])
        check_records(trainer, folder, policy[0])
        shutil.rmtree(folder)
    scythe.folder = None


@pytest.mark.parametrize("seed", [5, 9, 13, 31, 43])
def test_the_files_of_a_killed_run_are_those_of_one_that_was_not(scythe, tmp_path, seed, tally):
    survive(scythe, tmp_path, seed, tally, most=6)


@pytest.mark.parametrize(
    "seed", [9, 31, *(pytest.param(n, marks=pytest.mark.long) for n in range(40, 52))]
)
def test_the_files_of_a_killed_run_that_saves_in_the_background(scythe, tmp_path, seed, tally):
    survive(scythe, tmp_path, seed, tally, most=3, in_background=True)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(60))
def test_the_same_before_every_operation_of_more_policies(scythe, tmp_path, seed, tally):
    survive(scythe, tmp_path, seed, tally)
