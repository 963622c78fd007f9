"""Processes that the training operator of Kubeflow started, one in each pod."""

from __future__ import annotations

from pytorch_lightning.distributed.asked import Asked
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.utilities.environ import read_int, require_int, require_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class KubeflowEnvironment(ClusterEnvironment):
    """Reads what a `PyTorchJob` says in the environment; to be given by `plugins=`.

    It cannot be told from other launchers, so it is never found by itself. Where the job starts
    torchrun in each pod, torchrun is found, and this is not needed.
    """

    @property
    def creates_processes_externally(self) -> bool:
        """The operator did."""
        return True

    @property
    def main_address(self) -> str:
        """`MASTER_ADDR`."""
        return require_text("MASTER_ADDR")

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`."""
        return require_int("MASTER_PORT")

    @staticmethod
    def detect() -> bool:
        """Raise, since no variable belongs to Kubeflow alone."""
        raise NotImplementedError(
            "Kubeflow cannot be detected: pass `plugins=KubeflowEnvironment()`."
        )

    def world_size(self) -> int:
        """`WORLD_SIZE`."""
        return require_int("WORLD_SIZE")

    def set_world_size(self, size: int) -> None:
        """The operator knows it."""

    def global_rank(self) -> int:
        """`RANK`."""
        return require_int("RANK")

    def set_global_rank(self, rank: int) -> None:
        """The operator knows it; what is said once follows."""
        rank_zero_only.rank = self.global_rank()

    def local_rank(self) -> int:
        """0: a pod has one process."""
        return 0

    def node_rank(self) -> int:
        """`RANK`: each pod is a node."""
        return self.global_rank()

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with `WORLD_SIZE`."""
        size = read_int("WORLD_SIZE")
        if size is not None:
            asked = Asked(num_devices, num_nodes)
            asked.check_count(size, by="Kubeflow", told_by=f"WORLD_SIZE={size}")
