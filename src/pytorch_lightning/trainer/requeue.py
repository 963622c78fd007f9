"""A job of SLURM whose time is nearly over: save, back to the queue, and on from there."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytorch_lightning.checkpoint.peek import read_value
from pytorch_lightning.distributed import SLURMEnvironment
from pytorch_lightning.loops import snapshot
from pytorch_lightning.loops.run import Run
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.environ import read_int
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl

JOB = "slurm_job"  # the key of a checkpoint under which the job's number is kept
_NAME = re.compile(r"hpc_ckpt_(\d+)\.ckpt")
_SECONDS = 60  # for `scontrol`, which may have to wait for a busy controller


class Requeued(SystemExit):
    """The job is back in the queue: the process ends without an error."""

    def __init__(self) -> None:
        super().__init__(0)


class Requeue:
    """What happens to one run when SLURM says that the time of its job is nearly over.

    Args:
        environment: Tells the signal and the number of the job.
    """

    def __init__(self, trainer: "pl.Trainer", run: Run, environment: SLURMEnvironment) -> None:
        self.trainer, self.run = trainer, run
        self.signal = environment.requeue_signal
        self.job = environment.requeue_id()
        self.wanted = False

    @classmethod
    def of(cls, trainer: "pl.Trainer", run: Run) -> "Requeue | None":
        """For jobs of SLURM that are to be requeued; else None."""
        environment = trainer._parts.environment
        if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
            return None
        if environment.job_id() is None or environment.requeue_signal is None:
            return None
        return cls(trainer, run, environment)

    def ask(self) -> None:
        """The signal came: save and end as soon as that can be done."""
        assert self.signal is not None
        self.wanted = True
        self.run.state.ask_to_end(self.signal)

    def job_ends(self) -> dict[int, float]:
        """The signal, and when the time of the job is over; 0 if SLURM does not say it."""
        assert self.signal is not None
        return {self.signal: read_int("SLURM_JOB_END_TIME", 0) or 0}

    @contextmanager
    def around(self) -> Iterator[None]:
        """Requeue the job when the run ends because that was asked for.

        Raises:
            Requeued: If the job is back in the queue.
        """
        try:
            yield
        except SIGTERMException:
            strategy = self.run.strategy
            if self.wanted:
                done = self._ask_slurm() if strategy.is_global_zero else False
                if strategy.broadcast(done):
                    raise Requeued from None
            raise

    def save_if_wanted(self) -> bool:
        """Save if a process was told to; to be called in all of them."""
        self.wanted = self.run.strategy.reduce_boolean_decision(self.wanted, all=False)
        return self.wanted and self._save()

    def _save(self) -> bool:
        """Write the next `hpc_ckpt_<n>.ckpt`, if there is something to go on from."""
        trainer, strategy = self.trainer, self.run.strategy
        run = trainer._fit_run if trainer._is_current(trainer._fit_run) else None
        if run is None or run.state.sanity_checking:
            return False
        path = paths.join(_folder(trainer), f"hpc_ckpt_{_last_number(trainer) + 1}.ckpt")
        path = strategy.broadcast(path)
        for logger in trainer.loggers:
            logger.save()
        checkpoint = snapshot.capture(run, trainer.callbacks, weights_only=False)
        checkpoint[JOB] = self.job
        strategy.save_checkpoint(checkpoint, path)
        strategy.finish_saves()  # the queue ends this process at once
        strategy.barrier("hpc checkpoint")
        rank_zero_info(f"The time of the job is nearly over: saved {path}.")
        return True

    def _ask_slurm(self) -> bool:
        command = ["scontrol", "requeue", self.job]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            rank_zero_warn(f"`{' '.join(command)}` failed: {error}. The job is not requeued.")
            return False
        if done.returncode:
            rank_zero_warn(
                f"`{' '.join(command)}` gave {done.returncode}: {done.stderr.strip()} The job is "
                "not requeued."
            )
        return done.returncode == 0


def newest_of_any_job(trainer: "pl.Trainer") -> str | None:
    """The `hpc_ckpt_<n>.ckpt` with the highest number."""
    numbers = _numbers(trainer)
    return _path(trainer, max(numbers)) if numbers else None


def left_by_this_job(trainer: "pl.Trainer") -> str | None:
    """The newest checkpoint that this job left when it was requeued.

    A file that does not say whose it is will do. One of another job is mentioned only: tasks of an
    array, or whatever ran in this folder before, leave files of the same name.
    """
    environment = trainer._parts.environment
    if not isinstance(environment, SLURMEnvironment) or environment.job_id() is None:
        return None
    if trainer.fast_dev_run or trainer._progress.batches_seen:  # it has trained before
        return None
    others = []
    for number in sorted(_numbers(trainer), reverse=True):
        path = _path(trainer, number)
        job = read_value(path, JOB)
        if job in (None, environment.requeue_id()):
            return path
        others.append((path, job))
    if others:
        path, job = others[0]
        rank_zero_warn(
            f"{path} was left by job {job}; this is job {environment.requeue_id()}, which begins "
            "anew. Pass `ckpt_path='hpc'` to go on from that file."
        )
    return None


def files_of_this_job(trainer: "pl.Trainer") -> list[str]:
    """The files of requeued jobs, on a cluster only those of this one."""
    environment = trainer._parts.environment
    files = [_path(trainer, number) for number in _numbers(trainer)]
    if not isinstance(environment, SLURMEnvironment) or environment.job_id() is None:
        return files
    return [path for path in files if read_value(path, JOB) in (None, environment.requeue_id())]


def _folder(trainer: "pl.Trainer") -> str:
    return str(trainer.default_root_dir)


def _path(trainer: "pl.Trainer", number: int) -> str:
    return paths.join(_folder(trainer), f"hpc_ckpt_{number}.ckpt")


def _numbers(trainer: "pl.Trainer") -> list[int]:
    folder = _folder(trainer)
    names = paths.list_names(folder) if paths.is_dir(folder) else []
    return [int(found[1]) for name in names if (found := _NAME.fullmatch(name))]


def _last_number(trainer: "pl.Trainer") -> int:
    return max(_numbers(trainer), default=0)
