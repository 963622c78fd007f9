"""Where in the program this process is, in words."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

# Collectives that no rank leaves before all have begun them.
_ALIKE = {
    *("all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_single"),
    *("all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier"),
    *("reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor"),
}


def where_this_rank_is() -> str:
    """What the user's code called last in the main thread, and where: '`fit`, train.py:12'."""
    inner: list[str] = []
    for code in _outwards(_main_frame()):
        if _is_users(code):
            return f"{_called(inner)}{Path(code.f_code.co_filename).name}:{code.f_lineno}"
        inner.append(code.f_code.co_name)
    return _called(inner)


def collective_here() -> tuple[str, Any] | None:
    """The collective of torch that the main thread stands in, if it is alike for all; its group."""
    for frame in _outwards(_main_frame()):
        code = frame.f_code
        if code.co_filename == dist.distributed_c10d.__file__:
            return (code.co_name, frame.f_locals.get("group")) if code.co_name in _ALIKE else None
    return None


def _main_frame() -> FrameType | None:
    thread = threading.main_thread().ident
    return sys._current_frames().get(thread) if thread is not None else None


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith(("<", *_folders_of_others()))


@cache  # asked for when something is wrong, and slow to find out
def _folders_of_others() -> tuple[str, ...]:
    import sysconfig

    names = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
    return (*names, str(Path(__file__).parents[1]), str(Path(torch.__file__).parent))


def _called(inner: list[str]) -> str:
    """The verb that the user's code called, and what that came to."""
    if not inner:
        return ""
    verb = inner[-1]
    deep = "backward" if "_engine_run_backward" in inner else verb
    return f"`{verb}`, " if deep == verb else f"`{verb}` in a {deep}, "
