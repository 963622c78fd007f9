"""Every environment variable that is read, in one table, with small readers."""

import os
from collections.abc import Mapping

VARIABLES: Mapping[str, str] = {
    "PL_TRAINER_*": "the default of a Trainer argument: PL_TRAINER_MAX_EPOCHS=3",
    "PL_GLOBAL_SEED": "the seed that `seed_everything()` takes and leaves",
    "PL_SEED_WORKERS": "1: seeds of loader workers differ by rank, worker and epoch",
    "POSSIBLE_USER_WARNINGS": "0 or off: silences `PossibleUserWarning`",
    "RANK": "the rank among all processes",
    "LOCAL_RANK": "the rank among the processes of this machine",
    "GROUP_RANK": "the number of this machine, as torchrun says it",
    "NODE_RANK": "the number of this machine",
    "WORLD_SIZE": "how many processes there are",
    "LOCAL_WORLD_SIZE": "how many processes this machine has",
    "MASTER_ADDR": "where the process with rank 0 listens",
    "MASTER_PORT": "and on which port",
    "STANDALONE_PORT": "the port where no other is given",
    "TORCHELASTIC_RUN_ID": "set by torchrun",
    "TORCHELASTIC_RESTART_COUNT": "how often torchrun has started all processes again",
    "TORCHELASTIC_USE_AGENT_STORE": "True: somebody answers at MASTER_PORT already",
    "PL_LAUNCHER_PID": "the process that started this one as one of several",
    "PL_GRACE_SECONDS": "how long one of several processes may take to end after SIGTERM; 8",
    "SLURM_NTASKS": "how many processes SLURM starts",
    "SLURM_PROCID": "the rank, as SLURM says it",
    "SLURM_LOCALID": "the rank among the tasks of this node",
    "SLURM_NODEID": "the number of this node",
    "SLURM_NNODES": "how many nodes the job has",
    "SLURM_NTASKS_PER_NODE": "what `--ntasks-per-node` asked for",
    "SLURM_TASKS_PER_NODE": "tasks of each node of the job, as in `2(x3),1`",
    "SLURM_NODELIST": "the nodes of the job; the first one has rank 0",
    "SLURM_JOB_NODELIST": "the same",
    "SLURM_STEP_ID": "set by `srun`",
    "SLURM_STEP_NODELIST": "the nodes that `srun` uses",
    "SLURM_STEP_NUM_NODES": "how many these are",
    "SLURM_STEP_TASKS_PER_NODE": "tasks of each of them, as in `2(x3),1`",
    "SLURM_JOB_ID": "the number of the SLURM job",
    "SLURM_ARRAY_JOB_ID": "the number of the job array, for `scontrol requeue`",
    "SLURM_ARRAY_TASK_ID": "the number within it",
    "SLURM_JOB_END_TIME": "when the time of the job is over",
    "SLURM_JOB_NAME": "its name; `bash` and `interactive` are no batch jobs",
    "ENVIRONMENT": "BATCH in job scripts of SLURM",
    "LSB_JOBID": "the number of the LSF job",
    "LSB_DJOB_RANKFILE": "a file with its hosts",
    "JSM_NAMESPACE_SIZE": "how many processes jsrun starts",
    "JSM_NAMESPACE_RANK": "the rank, as jsrun says it",
    "JSM_NAMESPACE_LOCAL_RANK": "the rank among those of this machine",
    "JSM_NAMESPACE_LOCAL_SIZE": "how many these are",
    "OMPI_COMM_WORLD_SIZE": "how many processes Open MPI starts",
    "OMPI_COMM_WORLD_RANK": "the rank, as Open MPI says it",
    "PMI_SIZE": "how many processes MPICH starts",
    "PMI_RANK": "the rank, as MPICH says it",
    "MV2_COMM_WORLD_SIZE": "how many processes MVAPICH2 starts",
    "CUBLAS_WORKSPACE_CONFIG": "what deterministic CUDA needs; kept where it is set",
    "CUDA_VISIBLE_DEVICES": "the GPUs that this process may use",
    "PJRT_DEVICE": "what XLA runs on: TPU or CPU",
    "CPU_NUM_DEVICES": "how many devices XLA makes of the CPU",
    "COLAB_GPU": "set in Colab notebooks",
    "TQDM_MINITERS": "the refresh rate of the progress bar where it is longer",
}


class MissingVariable(KeyError, ValueError):
    """A variable that the launcher of the processes should have set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)

    def __str__(self) -> str:
        return f"`{self.args[0]}` is not in the environment, where the launcher should put it."


def read_text(name: str, default: str | None = None) -> str | None:
    """The value, or the default where it is missing or empty."""
    return os.environ.get(name) or default


def read_int(name: str, default: int | None = None) -> int | None:
    """The value as a whole number; anything else raises and names the variable."""
    text = read_text(name)
    if text is None:
        return default
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"`{name}={text}` in the environment: pass a whole number.") from None


def require_text(name: str) -> str:
    """The value; a missing one raises and names the variable."""
    text = read_text(name)
    if text is None:
        raise MissingVariable(name)
    return text


def require_int(name: str) -> int:
    """The value as a whole number; a missing one raises too."""
    require_text(name)
    return read_int(name) or 0


def read_flag(name: str, *, default: bool = False) -> bool:
    """Whether the value is set to anything but 0, false, no or off."""
    text = read_text(name)
    return default if text is None else text.lower() not in ("0", "false", "no", "off")


def read_prefixed(prefix: str) -> dict[str, str]:
    """The variables with this prefix, by the rest of their name in lower case."""
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in os.environ.items()
        if name.startswith(prefix) and name != prefix
    }
