"""A process that is killed at any moment leaves what a run goes on from as if nothing had been."""

import math
import random
import time

import pytest
import torch
from tests.faults import trained
from tests.faults.victims import temporary_files

from pytorch_lightning.checkpoint.peek import read_step
from pytorch_lightning.checkpoint.reader import verify_checkpoint
from pytorch_lightning.checkpoint.sharded import is_sharded, verify_sharded

LONG_CHAINS = 44  # of each way, with 3 kills each


@pytest.fixture(scope="module")
def whole(breeder, tmp_path_factory):
    """What a run leaves that nobody kills, and how long it takes, by way."""
    found = {}

    def get(way):
        if way not in found:
            home = tmp_path_factory.mktemp("whole")
            start = time.monotonic()
            victim = breeder.victim(trained.train, str(home), way, None, 1, folder=home)
            victim.join()
            assert "d" in victim.lines, victim.said()
            seconds = time.monotonic() - start
            found[way] = (left_by(home), seconds, sum(line == "b" for line in victim.lines))
        return found[way]

    return get


def held(home):
    """The step in each checkpoint, and whether it is a link; each must be whole."""
    steps = {}
    for path in sorted((home / trained.FOLDER).glob("*.ckpt")):
        (verify_sharded if is_sharded(path) else verify_checkpoint)(path)
        steps[path.name] = (read_step(str(path)), path.is_symlink())
    return steps


def left_by(home):
    result = torch.load(home / "result.pt")
    rows = (home / trained.ROWS).read_text()
    return result, rows, held(home)


def assert_same(found, expected):
    (result, rows, files), (as_result, as_rows, as_files) = found, expected
    for name in ("weights", "optimizer"):
        assert bits(result[name]) == bits(as_result[name]), name
    assert rows == as_rows
    assert files == as_files
    assert {k: result[k] for k in ("best", "last")} == {k: as_result[k] for k in ("best", "last")}


def bits(value):
    """Something that is equal where every bit is."""
    if isinstance(value, torch.Tensor):
        return value.dtype, value.shape, value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [bits(item) for item in value]
    return value


def strike(victim, chance, seconds, saves):
    """Kill it at some moment of its life, or of one of its saves; where that was."""
    if chance.random() < 0.5:
        end = time.monotonic() + chance.uniform(0, seconds)
        while time.monotonic() < end and victim.read(end - time.monotonic()):
            pass
    else:
        for _ in range(chance.randint(1, max(1, saves))):
            victim.wait_for("b")
        time.sleep(chance.uniform(0, 0.004))
    victim.kill()
    if "d" in victim.lines:
        return "the end"
    told = [line for line in victim.lines if line == "b" or line.startswith("s")]
    return "a save" if told and told[-1] == "b" else "the training"


def chain(breeder, whole, way, seed, kills, home, tally):
    """Kill a run, and what goes on from it, and so on; then let it end."""
    chance = random.Random(f"{way} {seed}")
    expected, seconds, saves = whole(way)
    last_step = max(step for step, _ in expected[2].values())
    steps = -1
    where = []
    for turn in range(kills + 1):
        begin = 100 + turn if held(home) else 1
        if begin == 1:  # starts afresh, as a user does who takes the old log away
            (home / trained.ROWS).unlink(missing_ok=True)
        args = (str(home), way, "auto", begin)
        victim = breeder.victim(trained.train, *args, folder=home)
        left = 1 - max(steps, 0) / last_step
        if turn == kills:
            victim.join()
            assert "d" in victim.lines, victim.said()
            break
        where.append(strike(victim, chance, seconds * left, int(saves * left)))
        if where[-1] == "the end":
            break
        tally(f"SIGKILL in {where[-1]}")
        told = [int(line[2:]) for line in victim.lines if line.startswith("s")]
        steps = max([steps, *told])
        files = held(home)
        there = max((step for step, _ in files.values()), default=-1)
        assert there >= steps, (where, files, victim.lines)
    assert_same(left_by(home), expected)
    assert temporary_files(home) == []


@pytest.mark.parametrize("way", trained.WAYS)
def test_runs_that_are_killed_end_as_if_they_had_not_been(way, breeder, whole, tmp_path, tally):
    chain(breeder, whole, way, 0, 3, tmp_path, tally)


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("way", trained.WAYS)
def test_hundreds_of_kills(way, part, breeder, whole, tmp_path, tally):
    for number in range(math.ceil(LONG_CHAINS / 4)):
        home = tmp_path / str(number)
        home.mkdir()
        chain(breeder, whole, way, 1 + part * 100 + number, 3, home, tally)
