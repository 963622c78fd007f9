"""Profilers: how long the actions of a run take."""

from pytorch_lightning.profilers.profiler import PassThroughProfiler, Profiler

__all__ = ["PassThroughProfiler", "Profiler"]
