"""Local paths and URLs that fsspec understands, by one set of verbs."""

import glob as local_glob
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]  # it has no types

PathLike: TypeAlias = str | os.PathLike[str]


def is_remote(path: PathLike) -> bool:
    """Whether this is a URL such as `s3://bucket/key`; `file://` is local."""
    text = os.fspath(path)
    return "://" in text and not text.startswith(("file://", "local://"))


def local(path: PathLike) -> str:
    """A local path without `file://`, and with `~` written out."""
    text = os.fspath(path)
    for prefix in ("file://", "local://"):
        text = text.removeprefix(prefix)
    return os.path.expanduser(text)


def normalize(path: PathLike) -> str:
    """An absolute local path, or the URL as it is."""
    return os.fspath(path) if is_remote(path) else os.path.abspath(local(path))


def join(first: PathLike, *rest: PathLike) -> str:
    """Put paths together; URLs always with forward slashes."""
    if not is_remote(first):
        return os.path.join(local(first), *(os.fspath(part) for part in rest))
    parts = [os.fspath(part).strip("/") for part in rest]
    return "/".join([os.fspath(first).rstrip("/"), *(part for part in parts if part)])


def exists(path: PathLike) -> bool:
    """Whether there is a file or a folder."""
    if is_remote(path):
        return bool(get_filesystem(path).exists(os.fspath(path)))
    return os.path.exists(local(path))


def is_dir(path: PathLike) -> bool:
    """Whether there is a folder."""
    if is_remote(path):
        return bool(get_filesystem(path).isdir(os.fspath(path)))
    return os.path.isdir(local(path))


def makedirs(path: PathLike) -> None:
    """Make a folder and those above it, where they are missing."""
    if is_remote(path):
        get_filesystem(path).makedirs(os.fspath(path), exist_ok=True)
    else:
        os.makedirs(local(path), exist_ok=True)


def glob(pattern: PathLike) -> list[str]:
    """The sorted paths that match; URLs keep their protocol."""
    if not is_remote(pattern):
        return sorted(local_glob.glob(local(pattern)))
    filesystem = get_filesystem(pattern)
    found = filesystem.glob(os.fspath(pattern))
    return sorted(str(filesystem.unstrip_protocol(name)) for name in found)


def list_names(folder: PathLike) -> list[str]:
    """The sorted names in a folder; none if it does not exist."""
    if not is_dir(folder):
        return []
    if not is_remote(folder):
        return sorted(os.listdir(local(folder)))
    found = get_filesystem(folder).ls(os.fspath(folder), detail=False)
    return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)


def remove(path: PathLike) -> None:
    """Delete a file or a whole folder; what does not exist is no error."""
    if is_remote(path):
        filesystem = get_filesystem(path)
        if filesystem.exists(os.fspath(path)):
            filesystem.rm(os.fspath(path), recursive=True)
        return
    target = Path(local(path))
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    else:
        target.unlink(missing_ok=True)


def get_filesystem(path: PathLike, **kwargs: Any) -> "AbstractFileSystem":
    """The fsspec file system that a path belongs to.

    Args:
        kwargs: Options of that file system.
    """
    import fsspec  # lazy: 30 ms that a local run need not pay

    filesystem, _ = fsspec.core.url_to_fs(os.fspath(path), **kwargs)
    return filesystem


def modified_at(path: PathLike) -> float:
    """When a file was last written, in seconds since the epoch."""
    if is_remote(path):
        return float(get_filesystem(path).modified(str(path)).timestamp())
    return os.path.getmtime(local(path))
