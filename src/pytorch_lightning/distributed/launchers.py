"""What starts the other processes of a run, and brings the results home."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from multiprocessing import current_process, get_all_start_methods, get_context
from pathlib import Path
from typing import Any, Literal

import torch

from pytorch_lightning.distributed.children import (
    PARENT,
    Child,
    children,
    send,
)
from pytorch_lightning.distributed.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.distributed.process_group import part_at_exit
from pytorch_lightning.distributed.rendezvous import open_port, serve, stop_serving
from pytorch_lightning.distributed.script import command_of_script
from pytorch_lightning.distributed.watch import report_fault, start_watch
from pytorch_lightning.distributed.workers import Task, Workers, begin, put_task, start
from pytorch_lightning.utilities.environ import read_int, read_text


class Launcher(ABC):
    """Starts the processes of this machine."""

    @property
    @abstractmethod
    def is_interactive_compatible(self) -> bool:
        """Whether it works in notebooks."""

    @abstractmethod
    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in all processes.

        Returns:
            What it returned in the process of rank 0.
        """

    def kill(self, signum: int) -> None:
        """Send a signal to the processes that were started."""


class _Meeting:
    """Where the processes will meet, open before they are started.

    Args:
        num_processes: Of this machine.
    """

    def __init__(self, environment: ClusterEnvironment, num_processes: int, num_nodes: int) -> None:
        self.num_processes, self.num_nodes = num_processes, num_nodes
        self.node = environment.node_rank()
        self.address = environment.main_address
        given = read_int("MASTER_PORT", read_int("STANDALONE_PORT"))
        if given is None and type(environment) is not LightningEnvironment:
            given = environment.main_port
        self.listener = None
        if self.node == 0:
            self.listener = open_port(self.address, given or 0)
            given = self.listener.getsockname()[1]
        if num_nodes > 1 and (read_text("MASTER_ADDR") is None or given is None):
            raise RuntimeError(
                f"`num_nodes={num_nodes}`: set MASTER_ADDR and MASTER_PORT to where the first "
                "machine can be reached, and NODE_RANK to the number of this one, on each of them."
            )
        self.port = given or 0

    def open(self) -> Any | None:
        """Answer there, if it is on this machine; after all processes were started."""
        return None if self.listener is None else serve(self.listener, self.address)

    def variables(self, local_rank: int) -> dict[str, str]:
        """What a process has to know."""
        return {
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "NODE_RANK": str(self.node),
            "LOCAL_RANK": str(local_rank),
            "WORLD_SIZE": str(self.num_processes * self.num_nodes),
            "TORCHELASTIC_USE_AGENT_STORE": "True",  # torch's word for: somebody answers there
        }

    def rank(self, local_rank: int) -> int:
        """Among all processes."""
        return self.node * self.num_processes + local_rank


class ScriptLauncher(Launcher):
    """Starts the script again for each further device; this process is the first.

    Args:
        num_processes: Of this machine.
    """

    def __init__(
        self, cluster_environment: ClusterEnvironment, num_processes: int, num_nodes: int = 1
    ) -> None:
        self.cluster_environment = cluster_environment
        self.num_processes = num_processes
        self.num_nodes = num_nodes

    @property
    def is_interactive_compatible(self) -> bool:
        """A notebook is no script."""
        return False

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Start the other processes, once, and call a function here; they get to it, too.

        Returns:
            What it returned here.
        """
        external = self.cluster_environment.creates_processes_externally
        if not external and read_text(PARENT) is None:
            self._start()
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            report_fault(error)
            raise

    def _start(self) -> None:
        meeting = _Meeting(self.cluster_environment, self.num_processes, self.num_nodes)
        part_at_exit()
        for local_rank in range(1, self.num_processes):
            command, folder = command_of_script(local_rank)
            variables = {**meeting.variables(local_rank), PARENT: str(os.getpid())}
            process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **variables}, stdin=subprocess.DEVNULL
            )
            children().append(Child(meeting.rank(local_rank), process.pid, process.poll))
        os.environ.update({**meeting.variables(0), PARENT: str(os.getpid())})
        meeting.open()
        start_watch(meeting.rank(0))

    def kill(self, signum: int) -> None:
        """Send a signal to the processes that were started."""
        send(signum)


class MultiprocessingLauncher(Launcher):
    """Calls a function in new processes by `multiprocessing`; they end with it.

    Args:
        num_processes: Of this machine.
    """

    def __init__(
        self,
        cluster_environment: ClusterEnvironment,
        num_processes: int,
        num_nodes: int = 1,
        start_method: Literal["spawn", "fork", "forkserver"] = "spawn",
    ) -> None:
        if start_method not in get_all_start_methods():
            known = ", ".join(map(repr, get_all_start_methods()))
            raise ValueError(f"`start_method={start_method!r}`: this system has {known}.")
        self.cluster_environment = cluster_environment
        self.num_processes = num_processes
        self.num_nodes = num_nodes
        self.start_method = start_method
        self._running: Workers | None = None

    @property
    def is_interactive_compatible(self) -> bool:
        """A forked process has what was typed; others would have to import it."""
        return self.start_method == "fork"

    def launch(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in new processes, each with tensors of its own.

        Returns:
            What it returned in the process of rank 0.

        Raises:
            BaseException: What the first rank that failed has raised, of the same type.
        """
        if read_text(PARENT) is not None:  # this is one of them
            return function(*args, **kwargs)
        self._check()
        folder = Path(tempfile.mkdtemp(prefix="pytorch_lightning_"))
        try:
            return self._run(folder, partial(function, *args, **kwargs))
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check(self) -> None:
        if getattr(current_process(), "_inheriting", False):
            raise RuntimeError(
                f"`start_method={self.start_method!r}` imports the script again in each process, "
                "and it would start again there. Put what starts the run under "
                "`if __name__ == '__main__':`."
            )
        if self.start_method == "fork" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # of torch
            raise RuntimeError(
                "`start_method='fork'`: CUDA was used before, and cannot be used in forked "
                "processes then. Move `.cuda()` and the like into the module's hooks (restart the "
                "kernel of a notebook first), or pass strategy='ddp_spawn'."
            )

    def _run(self, folder: Path, function: Callable[[], Any]) -> Any:
        forked = self.start_method == "fork"
        if not forked:
            put_task(folder, function, self.start_method)
        meeting = _Meeting(self.cluster_environment, self.num_processes, self.num_nodes)
        context: Any = get_context(self.start_method)
        running = self._running = Workers(folder)
        try:
            for local_rank in range(self.num_processes):
                variables = {**meeting.variables(local_rank), PARENT: str(os.getpid())}
                rank = meeting.rank(local_rank)
                own = function if forked else None
                task = Task(folder, rank, variables, own, collects=gc.isenabled())
                listener = meeting.listener if forked else None
                process = context.Process(target=begin, args=(task, listener))
                start(process)
                running.add(rank, process)
            running.store = meeting.open()
            running.wait()
        except KeyboardInterrupt:
            running.interrupt()
            raise
        finally:
            running.kill()
            self._running = running.store = None
            stop_serving()
            if meeting.listener is not None:
                meeting.listener.close()
        return running.result() if meeting.node == 0 else None

    def kill(self, signum: int) -> None:
        """Send a signal to the processes that were started."""
        if self._running is not None:
            send(signum, self._running.children)


def make_launcher(
    start_method: str, environment: ClusterEnvironment, num_processes: int, num_nodes: int
) -> Launcher | None:
    """What starts the processes of this machine; None where they are there already.

    Args:
        start_method: 'popen', 'spawn', 'fork' or 'forkserver'.
    """
    if environment.creates_processes_externally:
        return None
    if start_method != "popen":
        method: Any = start_method
        return MultiprocessingLauncher(environment, num_processes, num_nodes, method)
    if num_processes * num_nodes == 1:
        return None
    return ScriptLauncher(environment, num_processes, num_nodes)
