"""What users run on their own modules: exact resume, and faults on several ranks."""

from pytorch_lightning.testing.exact_resume import assert_exact_resume
from pytorch_lightning.testing.script import (
    Fault,
    disk_full,
    freeze,
    interrupt,
    kill,
    nan,
    raise_error,
    slow,
    stall,
    terminate,
    uneven,
)
from pytorch_lightning.testing.simulate import simulate
from pytorch_lightning.testing.simulation import RankReport, Simulation, TrainedBatch

__all__ = [
    "Fault",
    "RankReport",
    "Simulation",
    "TrainedBatch",
    "assert_exact_resume",
    "disk_full",
    "freeze",
    "interrupt",
    "kill",
    "nan",
    "raise_error",
    "simulate",
    "slow",
    "stall",
    "terminate",
    "uneven",
]
