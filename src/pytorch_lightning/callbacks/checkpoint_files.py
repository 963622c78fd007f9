"""Names of checkpoint files, and second names for the same content."""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from pytorch_lightning.checkpoint.atomic import (
    replace_file,
    replace_with_folder,
    replace_with_link,
)
from pytorch_lightning.checkpoint.sharded import is_sharded
from pytorch_lightning.utilities import paths
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.leftovers import remove_leftovers
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

if TYPE_CHECKING:
    import pytorch_lightning as pl

_FIELD = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")


def check_template(template: str) -> None:
    """Refuse a file name whose braces do not form `{name}` or `{name:format}`."""
    if re.search(r"[{}]", _FIELD.sub("", template)) or any(
        not name.strip() for name, _ in _FIELD.findall(template)
    ):
        raise MisconfigurationException(
            f"`filename={template!r}`: write each value as '{{name}}' or '{{name:format}}', "
            "for example '{epoch:02d}-{val_loss:.2f}'."
        )


def fill_template(template: str, metrics: Mapping[str, Any], *, label: str | None = None) -> str:
    """Put values into a file name; a name without a value becomes 0.

    Args:
        label: What stands between a name and its value; None leaves the name out.
    """

    def value_of(field: re.Match[str]) -> str:
        name, spec = field.group(1), field.group(2) or ""
        try:
            text = format(metrics.get(name, 0), spec)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"`filename={template!r}`: {name!r} is {metrics.get(name, 0)!r}, "
                f"which the format {spec!r} does not fit ({error})."
            ) from error
        return text if label is None else f"{name}{label}{text}"

    return _FIELD.sub(value_of, template)


def copy_file(source: str, target: str) -> None:
    """Copy a local file; the target is at any time the old or the new content."""

    def write(copy: BinaryIO) -> None:
        with open(source, "rb") as original:
            shutil.copyfileobj(original, copy, length=1 << 20)

    replace_file(target, write)


def copy_checkpoint(source: str, target: str) -> None:
    """Copy a checkpoint of any kind: a file, a folder or what lies on a remote file system."""
    if paths.is_remote(target):
        paths.get_filesystem(target).copy(source, target, recursive=paths.is_dir(source))
    elif os.path.isdir(paths.local(source)):
        replace_with_folder(target, paths.local(source))
    else:
        copy_file(paths.local(source), target)


def link_file(source: str, target: str) -> None:
    """Make `target` a relative link to `source`; a copy where links cannot be made.

    Both may be folders: sharded checkpoints are.
    """
    try:
        replace_with_link(target, os.path.relpath(source, os.path.dirname(target)))
    except (OSError, NotImplementedError):
        if os.path.isdir(source):
            replace_with_folder(target, source)
        else:
            copy_file(source, target)


def write_scores(scores: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the paths of checkpoints and their scores as YAML."""
    import yaml

    plain = {checkpoint: float(score) for checkpoint, score in scores.items()}
    text = yaml.dump(plain).encode("utf-8")

    def write(file: BinaryIO) -> None:
        file.write(text)

    replace_file(os.fspath(path), write)


def default_folder(trainer: "pl.Trainer") -> str:
    """Where checkpoints go when nothing is said: beside what the first logger writes."""
    root = trainer.default_root_dir
    if not trainer.loggers:
        return paths.join(root, "checkpoints")
    logger = trainer.loggers[0]
    version = logger.version
    run = version if isinstance(version, str) else f"version_{version}"
    return paths.join(logger.save_dir or root, str(logger.name), run, "checkpoints")


def warn_if_filled(folder: str) -> None:
    """Say that other checkpoints are there already."""
    if not paths.is_remote(folder) and paths.list_names(folder):
        rank_zero_warn(
            f"The checkpoint folder {folder!r} is not empty: names that are taken get '-v1'."
        )


def check_linkable(folder: str) -> None:
    """Refuse links where the file system has none."""
    if paths.is_remote(folder):
        raise ValueError(
            f"`save_last='link'`: {folder!r} is remote and knows no links. Pass True to keep a "
            "copy."
        )


def checkpoints_in(folder: str, extension: str, *, depth: int) -> list[str]:
    """The checkpoints in a folder, and in so many folders below it as names of files have."""
    found: list[str] = []
    for name in paths.list_names(folder):
        path = paths.join(folder, name)
        if name.startswith("."):
            continue
        if name.endswith(extension):
            if depth == 0 or is_sharded(path) or not paths.is_dir(path):
                found.append(path)
        elif depth and paths.is_dir(path):
            found += checkpoints_in(path, extension, depth=depth - 1)
    return found


def clear_leftovers(folder: str) -> None:
    """Give a folder that had made way for a new one its name back, if its writer is dead."""
    if not paths.is_remote(folder):
        with contextlib.suppress(OSError):  # there is no such folder, or one may only read it
            remove_leftovers(paths.local(folder))
