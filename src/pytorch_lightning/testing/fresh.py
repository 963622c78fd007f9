"""A function in a new process, which is seeded by nobody."""

import importlib
import multiprocessing
import os
import pickle
import random
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

STARTS = ("fork", "spawn")


class Failed(RuntimeError):
    """The function raised, or its process ended; the text of the error is the message."""


def usual_start() -> str:
    """ "fork" where that is safe: all that the function needs is there already."""
    if "fork" not in multiprocessing.get_all_start_methods() or sys.platform == "darwin":
        return "spawn"
    return "spawn" if torch.cuda.is_initialized() else "fork"  # type: ignore[no-untyped-call]  # torch


def call_in_process(
    function: Callable[..., Any], *args: Any, start: str, limit: float = 600.0
) -> Any:
    """Call a function in a process of its own; its result is plain data.

    Args:
        start: "fork" copies this process with all its objects; "spawn" starts an interpreter
            and sends it the arguments, which must be picklable.
        limit: Seconds after which the process is ended.

    Raises:
        Failed: If it did not return.
    """
    if start == "fork":
        importlib.import_module("torch._dynamo")  # optimizers do: seconds, now once for all
    context: Any = multiprocessing.get_context(start)
    ours, theirs = context.Pipe(duplex=False)
    task: Any = (function, args)
    if start == "spawn":
        task = _packed(task)
    process = context.Process(target=_work, args=(theirs, start, task))
    process.start()
    theirs.close()
    try:
        return _answer(process, ours, limit)
    finally:
        process.kill()
        process.join()
        ours.close()


def _answer(process: Any, pipe: Connection, limit: float) -> Any:
    if not pipe.poll(limit):
        raise Failed(f"nothing came back within {limit:.0f} seconds")
    try:
        worked, answer = pipe.recv()
    except EOFError:
        process.join()
        raise Failed(f"its process ended with exit code {process.exitcode}") from None
    if not worked:
        raise Failed(answer)
    return answer


def _packed(task: Any) -> bytes:
    """By pickle itself: multiprocessing would have the processes share the memory of tensors."""
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"`start='spawn'` sends its arguments to a new interpreter, which failed: {error}. "
            "Pass functions and classes of a file, no local ones, or `start='fork'`."
        ) from error


def _work(pipe: Connection, start: str, task: Any) -> None:
    try:
        if start == "fork":
            torch.set_num_threads(1)  # the threads of the process before are not copied
        function, args = task if start == "fork" else pickle.loads(task)
        _forget_seeds()
        pipe.send((True, function(*args)))
    except BaseException:
        pipe.send((False, traceback.format_exc()))
    finally:
        pipe.close()


def _forget_seeds() -> None:
    """Leave nothing of a seed in a process that was copied."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        os.environ.pop(name, None)
    torch.seed()
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()
