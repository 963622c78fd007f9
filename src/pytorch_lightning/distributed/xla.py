"""Processes that torch_xla started."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.utilities.environ import read_int, read_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only


class XLAEnvironment(ClusterEnvironment):
    """Asks the runtime of torch_xla; the XLA strategies bring it with them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if find_spec("torch_xla") is None:
            raise ModuleNotFoundError(
                "`XLAEnvironment` needs the package torch_xla: `pip install torch_xla`."
            )
        super().__init__(*args, **kwargs)

    @property
    def creates_processes_externally(self) -> bool:
        """The XLA strategy starts them."""
        return False

    @property
    def main_address(self) -> str:
        """`MASTER_ADDR`, else this machine; XLA meets without it."""
        return read_text("MASTER_ADDR") or "127.0.0.1"

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`, else 12910; XLA meets without it."""
        return read_int("MASTER_PORT") or 12910

    @staticmethod
    def detect() -> bool:
        """Whether torch_xla is installed and knows a TPU."""
        if find_spec("torch_xla") is None:
            return False
        return bool(_runtime().device_type() == "TPU")

    def world_size(self) -> int:
        """All processes."""
        return int(_runtime().world_size())

    def set_world_size(self, size: int) -> None:
        """XLA knows it."""

    def global_rank(self) -> int:
        """The ordinal among all."""
        return int(_runtime().global_ordinal())

    def set_global_rank(self, rank: int) -> None:
        """XLA knows it; what is said once follows."""
        rank_zero_only.rank = self.global_rank()

    def local_rank(self) -> int:
        """The ordinal on this machine."""
        return int(_runtime().local_ordinal())

    def node_rank(self) -> int:
        """The number of this machine."""
        return int(_runtime().host_index())


def _runtime() -> Any:
    return importlib.import_module("torch_xla.runtime")
