"""Processes that torchrun started."""

from __future__ import annotations

from pytorch_lightning.distributed.asked import Asked
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.utilities.environ import read_int, read_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only, warnings_given


class TorchElasticEnvironment(ClusterEnvironment):
    """Reads what torchrun says in the environment."""

    @property
    def creates_processes_externally(self) -> bool:
        """Torchrun did."""
        return True

    @property
    def main_address(self) -> str:
        """`MASTER_ADDR`."""
        return read_text("MASTER_ADDR") or _assume("MASTER_ADDR", "127.0.0.1")

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`."""
        return read_int("MASTER_PORT") or int(_assume("MASTER_PORT", "12910"))

    @staticmethod
    def detect() -> bool:
        """Whether torchrun started this process."""
        return read_text("TORCHELASTIC_RUN_ID") is not None

    def world_size(self) -> int:
        """`WORLD_SIZE`."""
        return read_int("WORLD_SIZE") or 1

    def set_world_size(self, size: int) -> None:
        """Torchrun knows it."""

    def global_rank(self) -> int:
        """`RANK`."""
        return read_int("RANK") or 0

    def set_global_rank(self, rank: int) -> None:
        """Torchrun knows it; what is said once follows."""
        rank_zero_only.rank = self.global_rank()

    def local_rank(self) -> int:
        """`LOCAL_RANK`."""
        return read_int("LOCAL_RANK") or 0

    def node_rank(self) -> int:
        """`GROUP_RANK`."""
        return read_int("GROUP_RANK") or 0

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with `WORLD_SIZE` and `LOCAL_WORLD_SIZE`."""
        asked, size = Asked(num_devices, num_nodes), self.world_size()
        asked.check_count(size, by="torchrun", told_by=f"WORLD_SIZE={size}")
        here = read_int("LOCAL_WORLD_SIZE")
        if here is not None:
            asked.check_here(here, by="torchrun", told_by=f"LOCAL_WORLD_SIZE={here}")


def _assume(name: str, value: str) -> str:
    warnings_given.warn(f"`{name}` is not set, as torchrun would: {value} is used.")
    return value
