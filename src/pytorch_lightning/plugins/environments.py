"""The cluster environments, under the documented path."""

from pytorch_lightning.distributed import ClusterEnvironment, LightningEnvironment

__all__ = ["ClusterEnvironment", "LightningEnvironment"]
