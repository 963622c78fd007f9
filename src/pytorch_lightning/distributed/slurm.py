"""Processes that `srun` started in a job of SLURM."""

from __future__ import annotations

import re
import shutil
import signal
import sys

from pytorch_lightning.distributed.asked import Asked
from pytorch_lightning.distributed.environments import ClusterEnvironment
from pytorch_lightning.utilities.environ import read_int, read_text
from pytorch_lightning.utilities.rank_zero import rank_zero_only, warnings_given
from pytorch_lightning.utilities.warnings import PossibleUserWarning

_INTERACTIVE = ("bash", "interactive")


class SLURMEnvironment(ClusterEnvironment):
    """Reads what SLURM says in the environment.

    Args:
        auto_requeue: Save and hand the job back to the queue when its time is nearly over.
        requeue_signal: By which SLURM says so; `SIGUSR1` unless given. Ask SLURM for it with
            `#SBATCH --signal=SIGUSR1@90`.
    """

    def __init__(
        self, auto_requeue: bool = True, requeue_signal: signal.Signals | None = None
    ) -> None:
        self.auto_requeue = auto_requeue
        if requeue_signal is None and sys.platform != "win32":
            requeue_signal = signal.SIGUSR1
        self.requeue_signal = requeue_signal

    @property
    def creates_processes_externally(self) -> bool:
        """`srun` did."""
        return True

    @property
    def main_address(self) -> str:
        """`MASTER_ADDR`, else the first host of the step or job, else this machine."""
        names = ("MASTER_ADDR", "SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
        found = next(filter(None, map(read_text, names)), "127.0.0.1")
        return self.resolve_root_node_address(found)

    @property
    def main_port(self) -> int:
        """`MASTER_PORT`, else 15000 and the last four digits of `SLURM_JOB_ID`, else 12910."""
        given = read_int("MASTER_PORT")
        if given is not None:
            return given
        digits = (read_text("SLURM_JOB_ID") or "")[-4:]
        return 15000 + int(digits) if digits.isdigit() else 12910

    @staticmethod
    def detect() -> bool:
        """Whether this process is a task of a batch job; warn where `srun` was forgotten."""
        if read_text("SLURM_NTASKS") is not None and not is_interactive():
            return True
        if shutil.which("srun") is not None and read_text("SLURM_STEP_ID") is None:
            warnings_given.warn(
                "The `srun` command is available on your system but is not used. To run under "
                f"SLURM, begin the command with it: srun python {' '.join(sys.argv)[:100]}",
                category=PossibleUserWarning,
            )
        return False

    @staticmethod
    def job_name() -> str | None:
        """`SLURM_JOB_NAME`."""
        return read_text("SLURM_JOB_NAME")

    @staticmethod
    def job_id() -> int | None:
        """`SLURM_JOB_ID`; None outside a job and in an interactive one."""
        text = read_text("SLURM_JOB_ID") or ""
        return int(text) if text.isdigit() and not is_interactive() else None

    @staticmethod
    def requeue_id() -> str:
        """How `scontrol` calls this job: by its number, or that of its array with its task's."""
        array, task = read_text("SLURM_ARRAY_JOB_ID"), read_text("SLURM_ARRAY_TASK_ID")
        return f"{array}_{task}" if array and task else read_text("SLURM_JOB_ID") or ""

    def world_size(self) -> int:
        """`SLURM_NTASKS`."""
        return read_int("SLURM_NTASKS") or 1

    def set_world_size(self, size: int) -> None:
        """SLURM knows it."""

    def global_rank(self) -> int:
        """`SLURM_PROCID`."""
        return read_int("SLURM_PROCID") or 0

    def set_global_rank(self, rank: int) -> None:
        """SLURM knows it; what is said once follows."""
        rank_zero_only.rank = self.global_rank()

    def local_rank(self) -> int:
        """`SLURM_LOCALID`."""
        return read_int("SLURM_LOCALID") or 0

    def node_rank(self) -> int:
        """`SLURM_NODEID`."""
        return read_int("SLURM_NODEID") or 0

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Compare what was asked with the tasks and nodes of SLURM."""
        tasks, nodes, here = self.world_size(), _nodes(), tasks_here()
        _check_srun(tasks)
        right_nodes = nodes in (None, num_nodes)
        right_tasks = here in (None, num_devices) and tasks == num_devices * num_nodes
        if right_nodes and right_tasks:
            return
        per_node = here if here is not None else tasks // (nodes or num_nodes)
        asked = Asked(num_devices, num_nodes)
        raise ValueError(
            f"{asked}, but SLURM started {tasks} ({_told()}). "
            f"Pass `devices={per_node}` and `num_nodes={nodes or num_nodes}`, or ask SLURM for "
            f"`--nodes={num_nodes} --ntasks-per-node={num_devices}` and start with `srun`."
            f"{asked.way_out}"
        )

    @staticmethod
    def resolve_root_node_address(nodes: str) -> str:
        """The first host of a list: `node[05-07,9]` gives `node05`."""
        first_of_ranges = re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes)
        return re.split(r"[,\s]", first_of_ranges.strip())[0]


def is_interactive() -> bool:
    """Whether the job is a shell, by its name; `srun` did not start what is typed there."""
    return read_text("SLURM_JOB_NAME") in _INTERACTIVE


def tasks_here() -> int | None:
    """How many tasks SLURM started on this node, if it says so."""
    for name in ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE"):
        counts = _counts(read_text(name) or "")
        if counts:
            node = read_int("SLURM_NODEID") or 0
            return counts[node] if node < len(counts) else counts[-1]
    return None


def _counts(text: str) -> list[int]:
    """`2(x3),1` is 2, 2, 2, 1."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part.strip())
        if found is None:
            return []
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def _nodes() -> int | None:
    return read_int("SLURM_STEP_NUM_NODES", read_int("SLURM_NNODES"))


def _told() -> str:
    """The variables that say what was started."""
    names = (
        *("SLURM_NTASKS", "SLURM_STEP_NUM_NODES", "SLURM_NNODES"),
        *("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"),
    )
    return ", ".join(f"{name}={value}" for name in names if (value := read_text(name)))


def _check_srun(tasks: int) -> None:
    """Several tasks that nobody started would wait for each other for ever."""
    if tasks == 1 or read_text("SLURM_STEP_ID") is not None:
        return
    in_script = read_text("ENVIRONMENT") == "BATCH"  # inherited by tasks, but these have a step
    if read_text("SLURM_PROCID") is not None and not in_script:
        return
    how = "`plugins=MPIEnvironment()`" if read_text("OMPI_COMM_WORLD_SIZE") else ""
    raise ValueError(
        f"`SLURM_NTASKS={tasks}`: SLURM reserved {tasks} tasks, and this process is none of them, "
        "since `srun` did not start it. "
        + (
            f"It was `mpirun`: pass {how}."
            if how
            else "Write `srun python script.py` in the job script, or reserve one task."
        )
    )
