"""The command that started this program, to start it again."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


def command_of_script(rank: int) -> tuple[list[str], str | None]:
    """The command line that runs this program once more, and in which folder.

    Args:
        rank: The local rank that it will have; names the output of Hydra.
    """
    main = sys.modules["__main__"]
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    spec, file = main.__spec__, getattr(main, "__file__", None)
    if spec is not None and spec.name != "__main__":
        target = ["-m", spec.name.removesuffix(".__main__")]
    elif spec is not None:  # a folder or an archive
        target = [os.path.abspath(sys.argv[0])]
    elif file is not None and os.path.exists(file):
        target = [os.path.abspath(file)]
    else:
        raise RuntimeError(
            "`strategy='ddp'` starts the script again for each device, and this program is no "
            "file: it came by `python -c`, a prompt or a notebook. Write it to a file, or pass "
            "strategy='ddp_fork'."
        )
    arguments, folder = _hydra(rank) or (sys.argv[1:], None)
    return [sys.executable, *flags, *target, *arguments], folder


def _hydra(rank: int) -> tuple[list[str], str] | None:
    """The arguments with which a program under Hydra gets the same configuration again."""
    module: Any = sys.modules.get("hydra.core.hydra_config")
    if module is None or not module.HydraConfig.initialized():
        return None
    config = module.HydraConfig.get()
    output, saved = config.runtime.output_dir, config.output_subdir
    own = [
        f'hydra.run.dir="{output}"',
        f"hydra.job.name=train_ddp_process_{rank}",
    ]
    if saved is None:
        return [*sys.argv[1:], *own, "hydra.output_subdir=null"], config.runtime.cwd
    return [
        "-cp",
        os.path.join(output, saved),
        "-cn",
        "config.yaml",
        f"hydra.output_subdir=.pl_hydra_local_rank_{rank}",
        *own,
    ], config.runtime.cwd
