"""Processes that `jsrun` started under LSF."""

from __future__ import annotations

import socket
from pathlib import Path

from pytorch_lightning.distributed.asked import Asked
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.utilities.environ import read_int, read_text, require_int, require_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only

_VARIABLES = ("LSB_JOBID", "LSB_DJOB_RANKFILE", "JSM_NAMESPACE_LOCAL_RANK", "JSM_NAMESPACE_SIZE")


class LSFEnvironment(ClusterEnvironment):
    """Reads what LSF and `jsrun` say in the environment, and the hosts in the rank file."""

    def __init__(self) -> None:
        self._hosts = _read_hosts(require_text("LSB_DJOB_RANKFILE"))
        self._node_rank = _position(self._hosts, socket.gethostname())

    @property
    def creates_processes_externally(self) -> bool:
        """`jsrun` did."""
        return True

    @property
    def main_address(self) -> str:
        """The first host that computes."""
        return self._hosts[0]

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`, else 10000 and the last three digits of `LSB_JOBID`."""
        given = read_int("MASTER_PORT")
        return 10000 + require_int("LSB_JOBID") % 1000 if given is None else given

    @staticmethod
    def detect() -> bool:
        """Whether `jsrun` started this process."""
        return all(read_text(name) is not None for name in _VARIABLES)

    def world_size(self) -> int:
        """`JSM_NAMESPACE_SIZE`."""
        return require_int("JSM_NAMESPACE_SIZE")

    def set_world_size(self, size: int) -> None:
        """LSF knows it."""

    def global_rank(self) -> int:
        """`JSM_NAMESPACE_RANK`."""
        return require_int("JSM_NAMESPACE_RANK")

    def set_global_rank(self, rank: int) -> None:
        """LSF knows it; what is said once follows."""
        rank_zero_only.rank = self.global_rank()

    def local_rank(self) -> int:
        """`JSM_NAMESPACE_LOCAL_RANK`."""
        return require_int("JSM_NAMESPACE_LOCAL_RANK")

    def node_rank(self) -> int:
        """The place of this host among those of the job."""
        return self._node_rank

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with `JSM_NAMESPACE_SIZE`."""
        asked, size = Asked(num_devices, num_nodes), self.world_size()
        asked.check_count(size, by="jsrun", told_by=f"JSM_NAMESPACE_SIZE={size}")
        here = read_int("JSM_NAMESPACE_LOCAL_SIZE")
        if here is not None:
            asked.check_here(here, by="jsrun", told_by=f"JSM_NAMESPACE_LOCAL_SIZE={here}")


def _read_hosts(path: str) -> list[str]:
    """The hosts that compute, each once; the first line of the file is where the job was born."""
    lines = [line.strip() for line in Path(path).read_text().splitlines()]
    hosts = list(dict.fromkeys(line for line in lines[1:] if line))
    if not hosts:
        raise ValueError(f"`LSB_DJOB_RANKFILE={path}`: the file names no host that computes.")
    return hosts


def _position(hosts: list[str], own: str) -> int:
    if own in hosts:
        return hosts.index(own)
    short = [host.split(".")[0] for host in hosts]
    if own.split(".")[0] in short:
        return short.index(own.split(".")[0])
    raise ValueError(
        f"This machine, {own}, is none of the hosts in `LSB_DJOB_RANKFILE`: {', '.join(hosts)}. "
        "Start the script with `jsrun`."
    )
