"""Which launcher started this process."""

from pytorch_lightning.distributed.environments import ClusterEnvironment, LightningEnvironment
from pytorch_lightning.distributed.lsf import LSFEnvironment
from pytorch_lightning.distributed.mpi import SIZES, MPIEnvironment
from pytorch_lightning.distributed.slurm import SLURMEnvironment, is_interactive
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment
from pytorch_lightning.utilities.environ import read_text

KNOWN: tuple[type[ClusterEnvironment], ...] = (
    TorchElasticEnvironment,
    SLURMEnvironment,
    LSFEnvironment,
    MPIEnvironment,
)


def detect_environment() -> ClusterEnvironment:
    """The first environment that recognizes the process, else processes that we start.

    Raises:
        ValueError: If variables promise other processes, and nothing says which one this is.
    """
    for environment in KNOWN:
        if environment.detect():
            return environment()
    _check_promises()
    return LightningEnvironment()


def _check_promises() -> None:
    """Each of several processes would take itself for the only one."""
    if read_text("LOCAL_RANK") is not None:
        return
    if _number("WORLD_SIZE") > 1 and read_text("RANK") is not None:
        raise ValueError(
            f"`WORLD_SIZE={read_text('WORLD_SIZE')}` and `RANK={read_text('RANK')}` are set, but "
            "not `LOCAL_RANK`. Under Kubeflow pass `plugins=KubeflowEnvironment()`; else start "
            "with `torchrun`, or unset them for a run of this process alone."
        )
    for name in SIZES:
        if _number(name) > 1:
            raise ValueError(
                f"`{name}={read_text(name)}`: `mpirun` started several processes, and what tells "
                "them apart is missing: `pip install mpi4py` where it finds the library of MPI, "
                "or start with `torchrun`."
            )
    if _number("SLURM_PROCID") > 0 and is_interactive():
        raise ValueError(
            f"`srun` started this process as task {read_text('SLURM_PROCID')} of a job that is "
            f"called `{read_text('SLURM_JOB_NAME')}`, which stands for a shell. Pass "
            "`plugins=SLURMEnvironment()`, or set another SLURM_JOB_NAME."
        )


def _number(name: str) -> int:
    text = read_text(name) or ""
    return int(text) if text.isdigit() else 0
