"""What users run on their own modules: exact resume, and faults on several ranks."""

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
