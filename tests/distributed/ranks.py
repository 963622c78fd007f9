"""Runs a function in several processes that form one job, with a hard time limit.

The processes get the variables that torchrun sets. One that does not end in time prints the stacks
of all its threads, and the test fails with the output of all ranks: a hang is a failure.
"""

import faulthandler
import importlib.util
import multiprocessing
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_START = multiprocessing.get_context("forkserver")
# DDP imports dynamo when it is made, torchmetrics takes as long: once here, not in each process
_START.set_forkserver_preload(
    ["pytorch_lightning", "torch.distributed", "torch._dynamo", "torchmetrics"]
)


def free_port() -> int:
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        return connection.getsockname()[1]


def run_ranks(
    function: Callable[..., Any],
    world: int,
    *args: Any,
    limit: float = 60,
    env: dict[str, str] | None = None,
    torchrun: bool = True,
) -> list[Any]:
    """Call a module-level function of a test file in `world` processes; their results by rank.

    Args:
        limit: Seconds after which all are killed, and the test fails.
        env: Further variables.
        torchrun: Say that torchrun started them; else `LOCAL_RANK` and the like alone.
    """
    outcomes = outcomes_of_ranks(function, world, *args, limit=limit, env=env, torchrun=torchrun)
    failed = [f"rank {rank}: {text}" for rank, (ok, _, text) in enumerate(outcomes) if not ok]
    if failed:
        raise AssertionError("\n\n".join(failed))
    return [result for _, result, _ in outcomes]


def outcomes_of_ranks(
    function: Callable[..., Any],
    world: int,
    *args: Any,
    limit: float = 60,
    env: dict[str, str] | None = None,
    torchrun: bool = True,
) -> list[tuple[bool, Any, str]]:
    """The same, where some may fail: whether it returned, what, and its output or error."""
    folder = Path(tempfile.mkdtemp(prefix="ranks"))
    variables = {
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        **({"TORCHELASTIC_RUN_ID": "test", "GROUP_RANK": "0"} if torchrun else {}),
        **(env or {}),
    }
    place = (sys.modules[function.__module__].__file__, function.__qualname__)
    started = []
    for rank in range(world):
        ours, theirs = _START.Pipe(duplex=False)
        own = {**variables, "LOCAL_RANK": str(rank), "RANK": str(rank)}
        process = _START.Process(
            target=_work, args=(place, args, own, theirs, folder / f"{rank}.txt", limit)
        )
        process.start()
        theirs.close()
        started.append((process, ours))
    end = time.monotonic() + limit + 5
    found = [_outcome(*pair, end, folder / f"{rank}.txt") for rank, pair in enumerate(started)]
    for process, _ in started:
        process.kill()
        process.join()
    return found


def without_waits(output: str) -> str:
    """What a program said, but for who waits for whom, which a busy machine makes it say."""
    return "".join(
        line for line in output.splitlines(keepends=True) if " is done and waits for " not in line
    )


def _outcome(process: Any, pipe: Any, end: float, output: Path) -> tuple[bool, Any, str]:
    ok, result, text = False, None, ""
    try:
        if pipe.poll(max(0.0, end - time.monotonic())):
            ok, result, text = pipe.recv()
        else:
            text = f"did not end within {end:.0f} s\n"
    except EOFError:
        process.join(5)
        text = f"ended with exit code {process.exitcode}\n"
    return ok, result, text + (output.read_text() if output.exists() else "")


def _work(
    place: tuple[str, str],
    args: tuple[Any, ...],
    env: dict[str, str],
    pipe: Any,
    output: Path,
    limit: float,
) -> None:
    os.environ.update(env)
    file = output.open("w", buffering=1)
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    faulthandler.dump_traceback_later(limit, exit=True, file=file)
    import torch

    from pytorch_lightning.distributed.process_group import part
    from pytorch_lightning.utilities.rank_zero import rank_zero_only

    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # as in a program: workers of loaders
    rank_zero_only.rank = int(env["RANK"])
    try:
        path, name = place
        spec = importlib.util.spec_from_file_location("work_of_ranks", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["work_of_ranks"] = module
        spec.loader.exec_module(module)
        message = (True, getattr(module, name)(*args), "")
    except BaseException:
        message = (False, None, traceback.format_exc())
    pipe.send(message)
    pipe.close()
    part(failed=not message[0])
    faulthandler.cancel_dump_traceback_later()
    os._exit(0)
