"""Processes that work together."""

from pytorch_lightning.distributed.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.distributed.kubeflow import KubeflowEnvironment
from pytorch_lightning.distributed.lsf import LSFEnvironment
from pytorch_lightning.distributed.mpi import MPIEnvironment
from pytorch_lightning.distributed.slurm import SLURMEnvironment
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment
from pytorch_lightning.distributed.xla import XLAEnvironment

__all__ = [
    "ClusterEnvironment",
    "KubeflowEnvironment",
    "LSFEnvironment",
    "LightningEnvironment",
    "MPIEnvironment",
    "SLURMEnvironment",
    "TorchElasticEnvironment",
    "XLAEnvironment",
]
