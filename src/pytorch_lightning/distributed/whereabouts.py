"""Where in the program this process is, in words."""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch

_OTHERS = tuple(
    str(folder)
    for folder in (
        Path(__file__).parents[1],
        Path(torch.__file__).parent,
        Path(sysconfig.get_path("stdlib")),
        Path(sysconfig.get_path("purelib")),
    )
)


def where_this_rank_is() -> str:
    """What the user's code called last in the main thread, and where: '`fit` (train.py:12)'."""
    thread = threading.main_thread().ident
    frame = sys._current_frames().get(thread) if thread is not None else None
    inner: list[str] = []
    for code in _outwards(frame):
        if _is_users(code):
            return f"{_called(inner)}{Path(code.f_code.co_filename).name}:{code.f_lineno}"
        inner.append(code.f_code.co_name)
    return _called(inner)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _is_users(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return not name.startswith(("<", *_OTHERS))


def _called(inner: list[str]) -> str:
    """The verb that the user's code called, and what that came to."""
    if not inner:
        return ""
    verb = inner[-1]
    deep = "backward" if "_engine_run_backward" in inner else verb
    return f"`{verb}`, " if deep == verb else f"`{verb}` in a {deep}, "
