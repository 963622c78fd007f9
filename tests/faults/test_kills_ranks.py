"""One rank or both are killed, and the group that is started anew ends as if nothing had been."""

import random
import time

import pytest
from tests.distributed.ranks import free_port
from tests.faults import trained
from tests.faults.test_kills import assert_same, held, left_by
from tests.faults.victims import temporary_files


def group(breeder, home, strategy, seed):
    """Two ranks as torchrun starts them."""
    port = str(free_port())
    variables = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": "0",
    }
    victims = []
    for rank in range(2):
        own = {**variables, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        args = (str(home), strategy, "auto", seed, own)
        victims.append(breeder.victim(trained.train_rank, *args, folder=home))
    return victims


@pytest.fixture(scope="module")
def whole_group(breeder, tmp_path_factory):
    """What two ranks leave that nobody kills, and how often they begin a file, by strategy."""
    found = {}

    def get(strategy):
        if strategy not in found:
            home = tmp_path_factory.mktemp("whole")
            victims = group(breeder, home, strategy, 1)
            for victim in victims:
                victim.join()
                assert "d" in victim.lines, victim.said()
            found[strategy] = left_by(home), victims[0].lines.count("b")
        return found[strategy]

    return get


def chain(breeder, whole_group, strategy, seed, kills, home, tally):
    """Kill ranks of a group, and of the group that goes on, and so on; then let it end."""
    expected, begun = whole_group(strategy)
    last_step = max(step for step, _ in expected[2].values())
    chance = random.Random(f"{strategy} {seed}")
    steps = 0
    for turn in range(kills + 1):
        there = held(home)
        if not there:  # starts afresh, as a user does who takes the old log away
            (home / trained.ROWS).unlink(missing_ok=True)
        victims = group(breeder, home, strategy, 100 + turn if there else 1)
        if turn == kills:
            for victim in victims:
                victim.join()
                assert "d" in victim.lines, victim.said()
            break
        strike(victims, chance, int(begun * (1 - steps / last_step)))
        if "d" in victims[0].lines:
            break
        tally(f"SIGKILL of a rank, {strategy}")
        told = [int(line[2:]) for line in victims[0].lines if line.startswith("s")]
        steps = max([steps, *told])
        now = max((step for step, _ in held(home).values()), default=0)
        assert now >= steps, victims[0].lines
    assert_same(left_by(home), expected)
    assert temporary_files(home) == []


def strike(victims, chance, begun):
    """Kill one rank or both about when a file is begun; the other one has to end by itself."""
    for _ in range(chance.randint(1, max(1, begun))):
        victims[0].wait_for("b")
    time.sleep(chance.uniform(0, 0.01))
    for rank in chance.choice([(0,), (1,), (0, 1)]):
        victims[rank].kill()
    for victim in victims:
        if not victim.joined:
            victim.join()


@pytest.mark.parametrize("strategy", trained.STRATEGIES)
def test_a_group_that_lost_a_rank_goes_on(strategy, breeder, whole_group, tmp_path, tally):
    chain(breeder, whole_group, strategy, 0, 1, tmp_path, tally)


@pytest.mark.long
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("strategy", trained.STRATEGIES)
def test_kills_of_ranks(strategy, number, breeder, whole_group, tmp_path, tally):
    chain(breeder, whole_group, strategy, number + 1, 3, tmp_path, tally)
