"""When a bar looks at the clock and draws."""

import math

import pytest

from pytorch_lightning.callbacks.progress import pace as pace_module
from pytorch_lightning.callbacks.progress.pace import Pace


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    hand = Clock()
    monkeypatch.setattr(pace_module, "monotonic", hand)
    return hand


def run(pace: Pace, clock: Clock, batches: int, seconds: float, total: float) -> tuple[list, list]:
    """Walk over batches of equal duration; return after which ones it looked and drew."""
    looked, drawn = [], []
    pace.start(total)
    for batch_idx in range(batches):
        clock.now += seconds
        if batch_idx >= pace.next:
            looked.append(batch_idx + 1)
            if pace.due(batch_idx + 1):
                drawn.append(batch_idx + 1)
    return looked, drawn


def test_a_pace_that_was_not_started_never_looks():
    assert Pace().next == math.inf


def test_slow_batches_are_all_drawn(clock):
    _, drawn = run(Pace(), clock, 5, seconds=1.0, total=5)
    assert drawn == [1, 2, 3, 4, 5]


def test_fast_batches_are_looked_at_every_sixteenth_time(clock):
    looked, drawn = run(Pace(), clock, 1000, seconds=1e-4, total=1000)
    assert len(looked) <= 1000 / 16 + 4
    assert drawn[0] == 1 and drawn[-1] == 1000
    assert len(drawn) == 2  # the first, and the last after less than two tenths of a second


def test_no_more_than_ten_drawings_a_second(clock):
    _, drawn = run(Pace(), clock, 10_000, seconds=1e-3, total=10_000)
    assert 80 <= len(drawn) <= 101


def test_batches_that_become_slow_are_noticed_within_sixteen(clock):
    pace = Pace()
    run(pace, clock, 100, seconds=1e-5, total=1000)
    assert pace.next <= 100 + 16


def test_a_refresh_rate_is_kept_and_the_last_batch_added(clock):
    _, drawn = run(Pace(20), clock, 50, seconds=1.0, total=50)
    assert drawn == [20, 40, 50]


def test_a_refresh_rate_of_zero_never_draws(clock):
    assert run(Pace(0), clock, 50, seconds=1.0, total=50) == ([], [])


def test_the_longest_wait_outranks_the_refresh_rate(clock):
    _, drawn = run(Pace(100, longest=2.0), clock, 10, seconds=1.0, total=1000)
    assert drawn == [1, 3, 5, 7, 9]


def test_more_batches_than_announced_go_on_being_drawn(clock):
    _, drawn = run(Pace(), clock, 6, seconds=1.0, total=3)
    assert drawn == [1, 2, 3, 4, 5, 6]


def test_every_batch_is_looked_at_where_nobody_knows_the_last_one(clock):
    looked, _ = run(Pace(), clock, 40, seconds=1e-5, total=math.inf)
    assert looked == list(range(1, 41))


def test_stop_ends_the_looking(clock):
    pace = Pace()
    pace.start(10)
    pace.stop()
    assert pace.next == math.inf
