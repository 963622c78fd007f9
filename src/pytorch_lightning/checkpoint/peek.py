"""What a checkpoint says of itself, without its tensors."""

import itertools
import os
import pickletools
from typing import Any, BinaryIO, NamedTuple, cast

from pytorch_lightning.checkpoint import schema
from pytorch_lightning.checkpoint.archive import Archive
from pytorch_lightning.checkpoint.atomic import is_remote, local_path, open_file_system
from pytorch_lightning.checkpoint.names import CALLS, CONSTANTS
from pytorch_lightning.checkpoint.sharded import META, is_sharded
from pytorch_lightning.checkpoint.unpickle import Machine

_CONTAINERS = {name: call for name, call in CALLS.items() if not name.startswith("torch")}
_STEP = "global_step"
_FIRST_OPERATIONS = 64  # the step is the second entry of the files that this house writes
# The points of `State.at` in the order in which a run comes by them; `epoch_end` still counts the
# epoch that ended, which makes `epoch_start` of the next one younger.
_POINTS = (
    *("epoch_start", "batch", "after_step", "after_batch", "in_validation", "after_validation"),
    *("closing", "epoch_end"),
)


class Header(NamedTuple):
    """Where a run had come to when it wrote a checkpoint.

    Attributes:
        step: Optimizer steps.
        place: Grows while a run goes on: of two files of a run, the younger one has more.
        run_id: The same in all files of a run; None in those of other programs.
        trains: Whether the file holds more than weights, so that a training can go on from it.
        callbacks: Their states by key, with placeholders where tensors were.
        job: The job of a cluster that it was written for.
    """

    step: int
    place: tuple[int, ...]
    run_id: str | None
    trains: bool
    callbacks: dict[Any, Any]
    job: Any = None


def read_value(path: str, key: str) -> Any:
    """The value of a top-level key; None for other keys and for what is no checkpoint.

    Args:
        key: Of a number or a text; anything else may come as a placeholder.
    """
    content = _content(path)
    return content.get(key) if content is not None else None


def read_header(path: str) -> Header | None:
    """Where the run of a checkpoint had come to; None for what is none, or of an old format."""
    content = _content(path)
    return None if content is None else header_of(content)


def header_of(content: dict[Any, Any]) -> Header | None:
    """The same of a checkpoint that was read already."""
    step = content.get(_STEP)
    if type(step) is not int or "state_dict" not in content:
        return None
    loops = content.get("loops")
    loops = loops if isinstance(loops, dict) else {}
    run_id, callbacks = loops.get(schema.RUN_ID), content.get("callbacks")
    return Header(
        step,
        (step, *_place(loops, loops.get(schema.OWN))),
        run_id if isinstance(run_id, str) else None,
        "optimizer_states" in content,
        callbacks if isinstance(callbacks, dict) else {},
        content.get("slurm_job"),
    )


def read_step(path: str) -> int | None:
    """The optimizer steps of a checkpoint, from the first bytes that describe it."""
    try:
        with _open(path) as file:
            return _first_step(_archive(file).pickle())
    except Exception:  # whoever loads the file will say what is wrong with it
        return None


def _place(loops: dict[Any, Any], own: Any) -> tuple[int, ...]:
    try:
        state = own["state"] if isinstance(own, dict) else schema.state_from_loops(loops)
        at = state.get("at")
        point = _POINTS.index(at) if at in _POINTS else 0
        counts = [state.get(name, 0) for name in ("batches_seen", "epoch")]
        inside = [state.get(name, 0) for name in ("val_loader", "val_batch")]
    except (AttributeError, KeyError, TypeError):
        return ()
    return tuple(n if type(n) is int else 0 for n in (*counts, point, *inside))


def _content(path: str) -> dict[Any, Any] | None:
    try:
        with _open(path) as file:
            archive = _archive(file)
            machine = Machine(_CONTAINERS, CONSTANTS, lambda _: None, archive.size)
            content = machine.run(archive.pickle())
    except Exception:  # as above
        return None
    return content if isinstance(content, dict) else None


def _open(path: str) -> BinaryIO:
    if is_remote(path):
        file_system, place = open_file_system(path)
        return cast(BinaryIO, file_system.open(place, "rb"))
    place = local_path(path)
    return open(os.path.join(place, META) if is_sharded(place) else place, "rb")


def _archive(file: BinaryIO) -> Archive:
    size = file.seek(0, os.SEEK_END)
    return Archive(file, size, map_location="cpu", check_sums=False)


def _first_step(pickle: bytes) -> int | None:
    found = False
    for operation, argument, _ in itertools.islice(pickletools.genops(pickle), _FIRST_OPERATIONS):
        if found and type(argument) is int and "INT" in operation.name:
            return argument
        if found and not operation.name.endswith("PUT") and operation.name != "MEMOIZE":
            return None
        found = found or argument == _STEP
    return None
