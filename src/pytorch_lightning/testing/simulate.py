"""Several real processes of one machine under a script of faults."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import signature
from multiprocessing import connection, get_all_start_methods, get_context
from pathlib import Path
from typing import Any

import torch

from pytorch_lightning.core.module import LightningModule
from pytorch_lightning.distributed.children import Child, end_children, how_it_ended
from pytorch_lightning.distributed.faults import Board
from pytorch_lightning.distributed.faults import Fault as Death
from pytorch_lightning.distributed.process_group import of_attempt
from pytorch_lightning.distributed.rendezvous import open_port, serve, stop_serving
from pytorch_lightning.distributed.workers import Task, begin, put_task, start
from pytorch_lightning.testing.playing import OF_FIT, Program, Turn, play
from pytorch_lightning.testing.script import Fault, check_script
from pytorch_lightning.testing.simulation import RankReport, Simulation, TrainedBatch
from pytorch_lightning.trainer.options import older_spellings
from pytorch_lightning.trainer.trainer import Trainer

_HERE = "127.0.0.1"
_FOR_STACKS = 1.0
"""Seconds that a process has to write down where it stands when the time limit is over."""
_CAUSE = re.compile(r"^\[rank \d+\] (.+ failed first: .*)$", re.MULTILINE)
_QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def simulate(
    module: LightningModule | Callable[[], LightningModule],
    data: Any = None,
    *,
    ranks: int = 2,
    script: Sequence[Fault] = (),
    restarts: int = 0,
    time_limit: float = 60.0,
    seed: int | None = 0,
    keep_weights: bool = False,
    start_method: str | None = None,
    **options: Any,
) -> Simulation:
    """Train in several processes that meet as under `torchrun`, while things go wrong.

    Args:
        module: A module, or a function that makes one in each process.
        data: Loaders for training or a datamodule, or a function that makes one; None where the
            module has loaders of its own.
        ranks: How many processes.
        script: What goes wrong, such as `[kill(rank=1, step=7)]`.
        restarts: How often a group that failed is started again, from its newest valid
            checkpoint, as `torchrun --max-restarts` does.
        time_limit: Seconds for everything; then all processes are killed, and the report tells
            where each of them stood.
        seed: For `seed_everything` in each process; None leaves that to the module.
        keep_weights: Bring the state of the module home from each rank.
        start_method: 'fork', or 'spawn' where everything can be pickled; chosen by itself.
        options: Of `Trainer`, and `val_dataloaders` and `ckpt_path` of `fit`. A `strategy` that
            is named gets a third of the time limit as its `timeout`.

    Returns:
        What every rank did. A fault is no error here: look at `survived`.
    """
    if isinstance(ranks, bool) or not isinstance(ranks, int) or ranks < 1:
        raise ValueError(f"`ranks={ranks!r}`: pass a number from 1 on.")
    if not time_limit > 0:
        raise ValueError(f"`time_limit={time_limit!r}`: pass a positive number of seconds.")
    _check_options(options, ranks)
    faults = check_script(script, ranks)
    method = _start_method(start_method)
    end = time.monotonic() + time_limit
    with _folder() as notes, _folder() as root:
        strategy = "ddp" if ranks > 1 else "auto"
        defaults = {**_QUIET, "strategy": strategy, "default_root_dir": root}
        program = Program(
            module=module,
            data=data,
            script=faults,
            options={**defaults, **options, "devices": ranks},
            seed=seed,
            notes=notes,
            patience=time_limit / 3,
            keep_weights=keep_weights,
        )
        attempts: list[tuple[RankReport, ...]] = []
        for attempt in range(restarts + 1):
            turn = Turn(attempt, end - time.monotonic(), resumes=attempt > 0)
            attempts.append(_start_group(program, turn, ranks, method))
            result = Simulation(tuple(attempts))
            if result.survived or time.monotonic() > end:
                break
    return _with_missed(result, faults, ranks)


def _check_options(options: dict[str, Any], ranks: int) -> None:
    if "devices" in options:
        raise TypeError(f"`devices={options['devices']!r}`: pass `ranks`, here {ranks}.")
    known = list(signature(Trainer).parameters)
    rest = {name: value for name, value in options.items() if name not in OF_FIT}
    if not rest.keys() <= set(known):
        older_spellings(rest, known)  # refuses what was never one


def _start_method(given: str | None) -> str:
    known = get_all_start_methods()
    if given is not None and given not in known:
        raise ValueError(f"`start_method={given!r}`: this system has {', '.join(known)}.")
    # A forked process can use neither CUDA nor, on a Mac, some of the system's own libraries.
    forks = sys.platform.startswith("linux") and not torch.cuda.is_available()
    return given or ("fork" if forks else "spawn")


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pytorch_lightning_"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# --- one start of the group ---------------------------------------------------------------------


def _start_group(program: Program, turn: Turn, ranks: int, method: str) -> tuple[RankReport, ...]:
    """Start all ranks, wait for the end of each, and read what they left."""
    folder = program.notes / f"turn{turn.attempt}"
    folder.mkdir()
    function = partial(play, program, turn)
    if method == "fork":
        # what all of them would import by themselves, as DDP does
        importlib.import_module("torch._dynamo")
    else:
        _put_task(folder, function, method)
    listener = open_port(_HERE, 0)
    context: Any = get_context(method)
    children: list[Child] = []
    processes: list[Any] = []
    try:
        for rank in range(ranks):
            variables = _variables(rank, ranks, listener.getsockname()[1], turn)
            own = function if method == "fork" else None
            task = Task(folder, rank, variables, own)
            inherited = listener if method == "fork" else None
            process = context.Process(target=begin, args=(task, inherited))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
                start(process)
            processes.append(process)
            children.append(Child(rank, process.pid, partial(getattr, process, "exitcode")))
        ends = _await_ends(processes, serve(listener, _HERE), turn)
    finally:
        end_children(0, children)
        stop_serving()
        listener.close()
    return _read_reports(program, turn, processes, ends)


def _put_task(folder: Path, function: Callable[[], None], method: str) -> None:
    try:
        put_task(folder, function, method)
    except RuntimeError as error:
        raise RuntimeError(
            f"`start_method={method!r}`: module, data or script cannot be given to another process "
            f"({error.__cause__}). Use functions and classes of the top level of a file, or pass "
            "start_method='fork' in a program that has not used a GPU."
        ) from error.__cause__


def _variables(rank: int, ranks: int, port: int, turn: Turn) -> dict[str, str]:
    """What torchrun says to a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": _HERE,
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "simulation",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": str(turn.attempt),
    }


def _await_ends(processes: Sequence[Any], store: Any, turn: Turn) -> dict[int, float]:
    """When each rank ended; who is there after the time limit is not in it."""
    limit = time.monotonic() + turn.seconds + _FOR_STACKS
    ends: dict[int, float] = {}
    while len(ends) < len(processes) and time.monotonic() < limit:
        running = [p.sentinel for p in processes if p.exitcode is None]
        connection.wait(running, timeout=min(0.2, max(0.0, limit - time.monotonic())))
        for rank, process in enumerate(processes):
            if process.exitcode is None or rank in ends:
                continue
            ends[rank] = time.monotonic()
            if process.exitcode < 0:  # it could not tell the others by itself
                board = Board(of_attempt(store, str(turn.attempt)), rank)
                board.post_death(Death(rank, how_it_ended(process.exitcode)))
    return ends


# --- what it left -------------------------------------------------------------------------------


def _read_reports(
    program: Program, turn: Turn, processes: Sequence[Any], ends: dict[int, float]
) -> tuple[RankReport, ...]:
    places = [program.notes / f"{turn.attempt}-{rank}" for rank in range(len(processes))]
    journals = [_read_journal(place.with_suffix(".journal")) for place in places]
    happened = [
        at for lines in journals for kind, value in lines if kind == "fault" for _, at in [value]
    ]
    first = min(happened, default=None)
    return tuple(
        _read_report(program, turn, rank, lines, (process.exitcode, first, ends.get(rank)))
        for rank, (process, lines) in enumerate(zip(processes, journals, strict=True))
    )


def _read_report(
    program: Program,
    turn: Turn,
    rank: int,
    lines: list[tuple[str, Any]],
    ended: tuple[int | None, float | None, float | None],
) -> RankReport:
    """What one rank did.

    Args:
        lines: Of its journal.
        ended: Its exit code, when the first fault of the group was, and when it ended.
    """
    code, first, end = ended
    place = program.notes / f"{turn.attempt}-{rank}"
    last = dict(lines)
    trained = tuple(TrainedBatch(*value) for kind, value in lines if kind == "batch")
    begun = last.get("started")
    output = _read_text(place.with_suffix(".out"))
    cause = _CAUSE.search(output)
    weights = place.with_suffix(".weights")
    numbers = [value[0] for kind, value in lines if kind == "fault"]
    numbers += [value for kind, value in lines if kind == "planned"]
    return RankReport(
        rank=rank,
        attempt=turn.attempt,
        exit_code=code if end is not None else None,
        error=last.get("error"),
        cause=cause[1] if cause else None,
        trained=trained,
        started_at=begun,
        steps=last.get("steps", trained[-1].step if trained else begun or 0),
        metrics=last.get("metrics", {}),
        weights=last.get("weights"),
        state_dict=torch.load(weights, weights_only=True) if weights.exists() else None,
        faults=tuple(program.script[number] for number in numbers),
        seconds=None if first is None or end is None else max(0.0, end - first),
        output=output,
        stack=_read_text(place.with_suffix(".stack")) if end is None else "",
    )


def _read_journal(path: Path) -> list[tuple[str, Any]]:
    lines = _read_text(path).splitlines()
    return [(kind, value) for kind, value in map(json.loads, lines)]


def _read_text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _with_missed(result: Simulation, faults: Sequence[Fault], ranks: int) -> Simulation:
    """Name the faults that never happened, which a test would take for survived."""
    happened = [fault for reports in result.attempts for r in reports for fault in r.faults]
    missed = tuple(fault for fault in faults if fault not in happened)
    if missed and result.survived:
        warnings.warn(
            f"The run came to its end before this happened: {', '.join(map(str, missed))}.",
            stacklevel=3,
        )
    return result._replace(missed=missed)
