"""The newest of several checkpoints that is whole."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from pytorch_lightning.checkpoint.peek import Header, header_of, read_header, read_step
from pytorch_lightning.checkpoint.reader import read_checkpoint, verify_checkpoint
from pytorch_lightning.checkpoint.sharded import is_sharded, verify_sharded
from pytorch_lightning.utilities import paths

Load = Callable[[str], dict[str, Any]]
_OLDEST = -1.0


class Found(NamedTuple):
    """A checkpoint that can be read."""

    path: str
    header: Header


class Passed(NamedTuple):
    """A file that was passed over, and why.

    Attributes:
        foreign: It is whole, and no checkpoint of a run.
    """

    path: str
    reason: str
    foreign: bool = False


class Choice(NamedTuple):
    """What was found, and what would have come before it."""

    found: Found | None
    passed: list[Passed]


def newest_valid(candidates: Iterable[str], *, training: bool, load: Load | None = None) -> Choice:
    """Choose the checkpoint whose run had come farthest, out of those that are whole.

    The step is read from the first bytes of each file. Only the newest one is read in full, and
    the next one if that is damaged.

    Args:
        training: Whether a training goes on from there, for which weights alone will not do.
        load: Reads files of a format of its own.
    """
    read = load or _read
    names = list(dict.fromkeys(candidates))
    passed: list[Passed] = []
    steps = {path: _step_in(path, read, passed) for path in names}
    known = sorted(((s, path) for path, s in steps.items() if s is not None), reverse=True)
    for _, group in itertools.groupby(known, key=lambda entry: entry[0]):
        for path, header in _youngest_first([path for _, path in group], read):
            reason = _why_not(path, header, training, load)
            if reason is None:
                assert header is not None
                return Choice(Found(path, header), passed)
            passed.append(Passed(path, reason))
    return Choice(None, passed)


def in_words(passed: Iterable[Passed]) -> str:
    """Files that were passed over, each with the reason."""
    return "; ".join(f"{entry.path!r} ({entry.reason})" for entry in passed)


def is_newest_of_its_run(path: str, others: Iterable[str]) -> bool:
    """Whether no other file is of the same run and younger."""
    own = read_header(path)
    if own is None or own.run_id is None:
        return False
    for other in others:
        step = read_step(other)
        if step is None or step < own.step:
            continue
        header = read_header(other)
        if header is not None and header.run_id == own.run_id and header.place > own.place:
            return False
    return True


def _read(path: str) -> dict[str, Any]:
    return read_checkpoint(path, "cpu")


def _step_in(path: str, read: Load, passed: list[Passed]) -> int | None:
    """The step in a file; where there is none, why it is passed over."""
    step = read_step(path)
    if step is not None:
        return step
    header = read_header(path)
    try:
        if header is None:
            header = header_of(read(path))
    except Exception as error:
        passed.append(Passed(path, _in_short(path, error)))
        return None
    if header is None:
        passed.append(Passed(path, "it is no checkpoint of a run", foreign=True))
        return None
    return header.step


def _youngest_first(group: list[str], read: Load) -> Iterator[tuple[str, Header | None]]:
    """Files of one step, those of later points of the run first."""
    if len(group) == 1:
        yield group[0], _header(group[0], read)
        return
    headers = {path: _header(path, read) for path in group}
    ages = {path: _written(path) for path in group}

    def age(path: str) -> tuple[tuple[int, ...], float, str]:
        header = headers[path]
        return (() if header is None else header.place), ages[path], path

    for path in sorted(group, key=age, reverse=True):
        yield path, headers[path]


def _header(path: str, read: Load) -> Header | None:
    header = read_header(path)
    if header is not None:
        return header
    try:
        return header_of(read(path))
    except Exception:  # the check of the whole file says what is wrong
        return None


def _why_not(path: str, header: Header | None, training: bool, load: Load | None) -> str | None:
    """Why one cannot go on from a file; None if one can."""
    if header is not None and training and not header.trains:
        return "it holds weights only"
    try:
        if load is not None:
            load(path)
        elif is_sharded(path):
            verify_sharded(path)
        else:
            verify_checkpoint(path)
    except Exception as error:
        return _in_short(path, error)
    return None if header is not None else "it is no checkpoint of a run"


def _written(path: str) -> float:
    try:
        return paths.modified_at(path)
    except Exception:  # gone meanwhile, or a file system without times
        return _OLDEST


def _in_short(path: str, error: Exception) -> str:
    """The first sentence of an error, without the file's name."""
    text = str(error).strip()
    for name in (path, os.path.abspath(path)):
        text = text.removeprefix(repr(name)).lstrip(": ")
    sentence = text.partition(". ")[0].rstrip(".")
    return sentence or type(error).__name__
