"""Who am I, and who else is there: what the launcher of the processes tells."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod

from pytorch_lightning.distributed.asked import Asked
from pytorch_lightning.utilities.environ import read_int, read_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class ClusterEnvironment(ABC):
    """What a launcher or a cluster says about the processes of a run."""

    @property
    @abstractmethod
    def creates_processes_externally(self) -> bool:
        """Whether somebody else starts the processes."""

    @property
    @abstractmethod
    def main_address(self) -> str:
        """The address of the process with rank 0."""

    @property
    @abstractmethod
    def main_port(self) -> int:
        """A free port at the main address, the same for all processes."""

    @staticmethod
    @abstractmethod
    def detect() -> bool:
        """Whether the process runs in this environment."""

    @abstractmethod
    def world_size(self) -> int:
        """The number of processes on all nodes."""

    @abstractmethod
    def set_world_size(self, size: int) -> None:
        """Set the number of processes."""

    @abstractmethod
    def global_rank(self) -> int:
        """The rank among all processes."""

    @abstractmethod
    def set_global_rank(self, rank: int) -> None:
        """Set the rank among all processes."""

    @abstractmethod
    def local_rank(self) -> int:
        """The rank among the processes of this node."""

    @abstractmethod
    def node_rank(self) -> int:
        """The rank of this node."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with what was launched."""

    def teardown(self) -> None:
        """Leave the process as it was found."""


class LightningEnvironment(ClusterEnvironment):
    """Processes that the trainer starts itself, or the user by hand with `LOCAL_RANK`."""

    def __init__(self) -> None:
        self._port: int | None = None
        self._rank = 0
        self._size = 1

    @property
    def creates_processes_externally(self) -> bool:
        """The user started the processes if `LOCAL_RANK` is set."""
        return read_text("LOCAL_RANK") is not None

    @property
    def main_address(self) -> str:
        """`MASTER_ADDR`, else this machine."""
        return read_text("MASTER_ADDR") or "127.0.0.1"

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`, else `STANDALONE_PORT`, else a port that is free now."""
        if self._port is None:
            given = read_int("MASTER_PORT", read_int("STANDALONE_PORT"))
            self._port = free_port() if given is None else given
        return self._port

    @staticmethod
    def detect() -> bool:
        """Always: it is what remains when no other environment is found."""
        return True

    def world_size(self) -> int:
        """As set; 1 before."""
        return self._size

    def set_world_size(self, size: int) -> None:
        """Set the number of processes."""
        self._size = size

    def global_rank(self) -> int:
        """As set; 0 before."""
        return self._rank

    def set_global_rank(self, rank: int) -> None:
        """Set the rank, for what is said on rank zero only as well."""
        self._rank = rank
        rank_zero_only.rank = rank

    def local_rank(self) -> int:
        """`LOCAL_RANK`, else 0."""
        return read_int("LOCAL_RANK") or 0

    def node_rank(self) -> int:
        """`NODE_RANK`, else `GROUP_RANK`, else 0."""
        return read_int("NODE_RANK", read_int("GROUP_RANK")) or 0

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with the variables of processes that were started by hand.

        Scripts that the trainer starts again may also run something in one process, before.
        """
        size, rank, node = (read_int(n) for n in ("WORLD_SIZE", "LOCAL_RANK", "NODE_RANK"))
        if num_devices * num_nodes == 1:
            if rank is None and (size or 1) > 1:
                raise ValueError(
                    f"`WORLD_SIZE={size}` in the environment, but `devices` and `num_nodes` ask "
                    "for one process. Pass the number per machine, or unset it."
                )
            return
        if rank is not None and size is not None:
            asked = Asked(num_devices, num_nodes)
            asked.check_count(size, by="somebody", told_by=f"WORLD_SIZE={size}, LOCAL_RANK={rank}")
        for name, number, count, argument in (
            ("LOCAL_RANK", rank, num_devices, "devices"),
            ("NODE_RANK", node, num_nodes, "num_nodes"),
        ):
            if number is not None and not 0 <= number < count:
                raise ValueError(
                    f"`{name}={number}` in the environment, but `{argument}={count}` numbers them "
                    f"from 0 to {count - 1}. Change one of the two."
                )

    def teardown(self) -> None:
        """Forget the number of processes that the trainer announced."""
        os.environ.pop("WORLD_SIZE", None)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as connection:
        connection.bind(("", 0))
        port: int = connection.getsockname()[1]
    return port
