"""Processes that die or leave while a checkpoint is written in the background."""

import random
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from tests.faults import trained
from tests.faults.test_kills import assert_same, held, left_by, strike
from tests.faults.victims import temporary_files

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.checkpoint.reader import read_checkpoint, verify_checkpoint

WAYS = ["each step", "windows", "a link"]


def train(home, way, ckpt_path, seed, in_background=True, pipe=-1):
    """Train with a disk that is slow enough to be met at work."""
    real = torch.save

    def slow_save(*args, **kwargs):
        real(*args, **kwargs)
        time.sleep(0.003)

    torch.save = slow_save

    def keeper(every, last):
        return ModelCheckpoint(
            trained.FOLDER,
            filename="{step}",
            monitor="loss",
            save_top_k=2,
            save_last=last,
            every_n_train_steps=every,
            async_save=in_background,
        )

    trained.keeper = keeper
    trained.train(home, way, ckpt_path, seed, pipe=pipe)


@pytest.fixture(scope="module")
def whole(breeder, tmp_path_factory):
    """What a run leaves that saves at once and that nobody kills, by way."""
    found = {}

    def get(way):
        if way not in found:
            home = tmp_path_factory.mktemp("whole")
            begin = time.monotonic()
            victim = breeder.victim(train, str(home), way, None, 1, False, folder=home)
            victim.join()
            assert "d" in victim.lines, victim.said()
            seconds = time.monotonic() - begin
            found[way] = left_by(home), seconds, sum(line == "b" for line in victim.lines)
        return found[way]

    return get


def chain(breeder, whole, way, seed, kills, home, tally):
    """Kill a run that saves in the background, and what goes on from it, and so on."""
    chance = random.Random(f"background {way} {seed}")
    expected, seconds, saves = whole(way)
    steps = 0
    for turn in range(kills + 1):
        begin = 100 + turn if held(home) else 1
        if begin == 1:
            (home / trained.ROWS).unlink(missing_ok=True)
        victim = breeder.victim(train, str(home), way, "auto", begin, folder=home)
        if turn == kills:
            victim.join()
            assert "d" in victim.lines, victim.said()
            break
        where = strike(victim, chance, seconds / 2, saves // 2)
        if where == "the end":
            break
        tally(f"SIGKILL in {where}" + " in the background" * (where == "a save"))
        told = [int(line[2:]) for line in victim.lines if line.startswith("s")]
        steps = max([steps, *told])
        there = max((step for step, _ in held(home).values()), default=0)
        assert there >= steps, victim.lines
    assert_same(left_by(home), expected)
    assert temporary_files(home) == []


@pytest.mark.parametrize("way", WAYS)
def test_runs_that_save_in_the_background_may_be_killed(way, breeder, whole, tmp_path, tally):
    chain(breeder, whole, way, 0, 2, tmp_path, tally)


@pytest.mark.long
@pytest.mark.parametrize("way", WAYS)
def test_many_kills_in_the_background(way, breeder, whole, tmp_path, tally):
    for number in range(1, 13):
        home = tmp_path / str(number)
        home.mkdir()
        chain(breeder, whole, way, number, 3, home, tally)


LEAVING = """
import sys, time, torch
from pytorch_lightning.checkpoint.async_io import AsyncCheckpointIO

real = torch.save
def slow_save(*args, **kwargs):
    time.sleep(0.5)
    real(*args, **kwargs)
torch.save = slow_save
io = AsyncCheckpointIO()
io.save_checkpoint({"state_dict": {"weight": torch.ones(1000)}}, sys.argv[1])
io.after_saves(lambda: print("after", flush=True))
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("sys.exit(3)", 3), pytest.param("raise ValueError", 1, marks=pytest.mark.long)],
)
def test_what_was_handed_over_is_written_before_the_process_ends(tmp_path, end, code, tally):
    tally("exit during a save in the background")
    path = tmp_path / "a.ckpt"
    command = [sys.executable, "-c", textwrap.dedent(LEAVING) + end, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stdout == "after\n"
    verify_checkpoint(path)
    assert read_checkpoint(path)["state_dict"]["weight"].sum() == 1000
