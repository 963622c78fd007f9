"""Processes that torch_xla starts, one for each device."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytorch_lightning.distributed.launchers import MultiprocessingLauncher
from pytorch_lightning.utilities.imports import import_optional


class XLALauncher(MultiprocessingLauncher):
    """Starts one process for each XLA device of this machine; they end with the function."""

    def __init__(self) -> None:
        self.procs: list[Any] = []  # torch_xla looks after them itself

    @property
    def is_interactive_compatible(self) -> bool:
        """Forked processes work in notebooks."""
        return True

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in all processes.

        Returns:
            What it returned in the process of rank 0.
        """
        torch_xla = import_optional("torch_xla", purpose="`strategy='xla'`")
        with tempfile.TemporaryDirectory(prefix="xla-run-") as folder:
            home = Path(folder) / "returned"
            torch_xla.launch(_work, args=(home, function, args, kwargs), start_method="fork")
            return pickle.loads(home.read_bytes())


def _work(_: int, home: Path, function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    returned = function(*args, **kwargs)
    runtime = import_optional("torch_xla.runtime", purpose="`strategy='xla'`")
    if runtime.global_ordinal() == 0:
        home.write_bytes(pickle.dumps(returned))
