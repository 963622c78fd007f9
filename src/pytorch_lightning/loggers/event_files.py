"""Event files of TensorBoard read back, so that a resumed run keeps its own past."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pytorch_lightning.utilities.paths import is_remote, join, list_names

CLOCK = "epoch"  # metrics that come with it have the steps of training as x


def is_event_file(name: str) -> bool:
    """Is this a name that TensorBoard reads?"""
    return "tfevents" in name


@dataclass
class Past:
    """What of a folder's events stays when a run continues at a step.

    Attributes:
        purged: Events of the past that a purge by x hides: their x counts something else.
        last_x: The last x of each tag that is shown then.
    """

    purged: list[Any] = field(default_factory=list)
    last_x: dict[str, int] = field(default_factory=dict)


@dataclass
class _Seen:
    step: int
    tags: list[str]
    event: Any  # kept only where it may have to be written again


def read_past(folder: str, step: int) -> Past:
    """Tell what was written before a run reached `step`.

    Events are in the order of time: the first with an epoch at `x >= step` and all that follow
    are the future that is left behind.
    """
    if is_remote(folder) or find_spec("tensorboard") is None:
        return Past()
    seen: list[_Seen] = []
    for event in _events(folder):
        if event.HasField("session_log"):  # an earlier purge
            seen = [entry for entry in seen if entry.step < event.step]
        elif event.HasField("summary"):
            tags = [value.tag for value in event.summary.value]
            seen.append(_Seen(event.step, tags, event if event.step >= step else None))
    if not any(CLOCK in entry.tags for entry in seen):
        return Past()
    past, is_past = Past(), True
    for entry in seen:
        if entry.step >= step:
            is_past = is_past and CLOCK not in entry.tags
            if not is_past:
                continue
            past.purged.append(entry.event)
        for tag in entry.tags:
            past.last_x[tag] = max(entry.step, past.last_x.get(tag, -1))
    return past


def _events(folder: str) -> Iterator[Any]:
    loader = import_module("tensorboard.backend.event_processing.event_file_loader")
    event_class = import_module("tensorboard.compat.proto.event_pb2").Event
    for name in filter(is_event_file, list_names(folder)):
        for record in loader.RawEventFileLoader(join(folder, name)).Load():
            yield event_class.FromString(record)
