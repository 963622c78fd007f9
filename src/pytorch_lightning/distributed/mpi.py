"""Processes that `mpirun` started."""

from __future__ import annotations

import importlib
import socket
import sys
from collections import Counter
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from pytorch_lightning.distributed.asked import Asked
from pytorch_lightning.distributed.environments import ClusterEnvironment, free_port
from pytorch_lightning.utilities.environ import read_int, read_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only

# What Open MPI, MPICH with its relatives, and MVAPICH2 set.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


class MPIEnvironment(ClusterEnvironment):
    """Asks MPI through the package mpi4py.

    Who sits where is exchanged once, when it is first asked for; all processes have to ask.
    """

    def __init__(self) -> None:
        if not is_installed():
            raise ModuleNotFoundError(
                "`MPIEnvironment` needs the package mpi4py: `pip install mpi4py`."
            )
        self._world: Any = importlib.import_module("mpi4py.MPI").COMM_WORLD

    @property
    def creates_processes_externally(self) -> bool:
        """`mpirun` did."""
        return True

    @cached_property
    def _seats(self) -> list[tuple[str, int]]:
        """The host of each rank, and a port that is free there."""
        port = read_int("MASTER_PORT")
        seats = self._world.allgather((socket.gethostname(), free_port() if port is None else port))
        return list(seats)

    @property
    def main_address(self) -> str:
        """`MASTER_ADDR`, else the host of rank 0."""
        return read_text("MASTER_ADDR") or self._seats[0][0]

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`, else a port that was free on that host."""
        return self._seats[0][1]

    @staticmethod
    def detect() -> bool:
        """Whether several processes run under MPI.

        mpi4py is imported only where an MPI launcher left a trace, since the import starts MPI.
        """
        traces = any(read_text(name) is not None for name in SIZES)
        if not (traces or "mpi4py" in sys.modules) or not is_installed():
            return False
        try:
            world = importlib.import_module("mpi4py.MPI").COMM_WORLD
        except (ImportError, RuntimeError):  # without the library of MPI
            return False
        return int(world.Get_size()) > 1

    def world_size(self) -> int:
        """The size of `COMM_WORLD`."""
        return int(self._world.Get_size())

    def set_world_size(self, size: int) -> None:
        """MPI knows it."""

    def global_rank(self) -> int:
        """The rank in `COMM_WORLD`."""
        return int(self._world.Get_rank())

    def set_global_rank(self, rank: int) -> None:
        """MPI knows it; what is said once follows."""
        rank_zero_only.rank = self.global_rank()

    def local_rank(self) -> int:
        """How many lower ranks this host has."""
        rank = self.global_rank()
        host = self._seats[rank][0]
        return sum(seat[0] == host for seat in self._seats[:rank])

    def node_rank(self) -> int:
        """The place of this host, in the order of its lowest rank."""
        hosts = list(dict.fromkeys(host for host, _ in self._seats))
        return hosts.index(self._seats[self.global_rank()][0])

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with `COMM_WORLD`."""
        asked, size = Asked(num_devices, num_nodes), self.world_size()
        asked.check_count(size, by="mpirun", told_by=f"COMM_WORLD has {size}")
        hosts = Counter(host for host, _ in self._seats)
        here = hosts[self._seats[self.global_rank()][0]]
        told_by = ", ".join(f"{count} on {host}" for host, count in hosts.items())
        asked.check_here(here, by="mpirun", told_by=told_by)


def is_installed() -> bool:
    """Whether mpi4py can be imported."""
    return "mpi4py" in sys.modules or find_spec("mpi4py") is not None
