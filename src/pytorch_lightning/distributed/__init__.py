"""Processes that work together."""

from pytorch_lightning.distributed.environments import ClusterEnvironment, LightningEnvironment

__all__ = ["ClusterEnvironment", "LightningEnvironment"]
