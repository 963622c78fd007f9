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
    "SLURM_NTASKS": "how many processes SLURM starts",
    "SLURM_PROCID": "the rank, as SLURM says it",
    "SLURM_JOB_ID": "the number of the SLURM job",
    "SLURM_JOB_NAME": "its name; `bash` and `interactive` are no batch jobs",
    "JSM_NAMESPACE_RANK": "the rank, as jsrun says it",
    "CUBLAS_WORKSPACE_CONFIG": "what deterministic CUDA needs; kept where it is set",
    "COLAB_GPU": "set in Colab notebooks",
    "TQDM_MINITERS": "the refresh rate of the progress bar where it is longer",
}


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
