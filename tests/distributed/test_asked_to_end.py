"""Until when a process that was asked to end has to come to it."""

import os
import signal
import time

import pytest

from pytorch_lightning.distributed.asked_to_end import Asked


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setenv("PL_GRACE_SECONDS", "1")
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    asked = Asked()
    yield asked
    asked.close()
    signal.signal(signal.SIGUSR1, before)


def seconds_until_in_vain(asked, limit):
    os.kill(os.getpid(), signal.SIGUSR1)
    began = time.monotonic()
    while not asked.in_vain():
        if time.monotonic() - began > limit:
            return None
        time.sleep(0.02)
    return time.monotonic() - began


def test_after_a_signal_it_has_the_grace(asked):
    asked.begin_run({})
    assert 0.9 < seconds_until_in_vain(asked, limit=10) < 5


def test_after_the_signal_of_slurm_it_has_until_the_job_nearly_ends(asked):
    asked.begin_run({signal.SIGUSR1: time.time() + 7.5})  # of which the last 5 are not for it
    assert 2 < seconds_until_in_vain(asked, limit=10) < 6


def test_where_slurm_does_not_say_when_there_is_no_limit(asked):
    asked.begin_run({signal.SIGUSR1: 0})
    assert seconds_until_in_vain(asked, limit=1.5) is None
