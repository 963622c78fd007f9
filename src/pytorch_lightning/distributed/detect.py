"""Which launcher started this process."""

from pytorch_lightning.distributed.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment

KNOWN: tuple[type[ClusterEnvironment], ...] = (TorchElasticEnvironment,)


def detect_environment() -> ClusterEnvironment:
    """The first environment that recognizes the process, else processes that we start."""
    for environment in KNOWN:
        if environment.detect():
            return environment()
    return LightningEnvironment()
