"""Small text files, local or behind a URL: read, replaced whole, or made longer."""

import contextlib
import os

from pytorch_lightning.utilities.leftovers import remove_leftovers, remove_path, reserved_name
from pytorch_lightning.utilities.paths import get_filesystem, is_remote, local, makedirs


def read_text(path: str) -> str:
    """The whole text of a file, line ends as they are."""
    if is_remote(path):
        return str(get_filesystem(path).cat_file(path).decode())
    with open(local(path), encoding="utf-8", newline="") as file:
        return file.read()


def write_text(path: str, text: str) -> None:
    """Put a file in place, or leave the old one untouched when that fails."""
    makedirs(os.path.dirname(path) or ".")
    if is_remote(path):
        get_filesystem(path).pipe_file(path, text.encode())
        return
    target = local(path)
    folder = os.path.dirname(target) or "."
    with contextlib.suppress(OSError):
        remove_leftovers(folder)
    with reserved_name() as name:
        temporary = os.path.join(folder, name)
        try:
            with open(temporary, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            os.replace(temporary, target)
        finally:
            remove_path(temporary)


def append_text(path: str, text: str) -> None:
    """Add text to the end of a file that exists."""
    if is_remote(path):  # object stores cannot append
        write_text(path, read_text(path) + text)
        return
    with open(local(path), "a", encoding="utf-8", newline="") as file:
        file.write(text)
