"""Rewrite files of earlier releases: `python -m pytorch_lightning.utilities.upgrade_checkpoint`."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.checkpoint.atomic import replace_file
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.migrate import LAYOUT_OF, migrate_checkpoint
from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.utilities.exceptions import CheckpointError

_VERSION_KEY = "pytorch-lightning_version"
_CHUNK = 1 << 22


def upgrade_file(path: Path, *, map_to_cpu: bool = False) -> Path:
    """Bring one file to today's layout.

    Args:
        map_to_cpu: Move its tensors to the CPU.

    Returns:
        Where the file was copied to before.
    """
    checkpoint = migrate_checkpoint(read_checkpoint(path, "cpu" if map_to_cpu else None), path)
    checkpoint[_VERSION_KEY] = str(LAYOUT_OF)
    backup = path.with_name(path.name + ".bak")
    with path.open("rb") as original:
        replace_file(str(backup), lambda copy: shutil.copyfileobj(original, copy, _CHUNK))
    shutil.copystat(path, backup)
    TorchCheckpointIO().save_checkpoint(checkpoint, path)
    return backup


def files_at(path: Path, extension: str) -> list[Path]:
    """The file itself, or the files below a folder that have this extension."""
    return sorted(path.rglob(f"*{extension}")) if path.is_dir() else [path]


def main(arguments: Sequence[str] | None = None) -> None:
    """Upgrade what the command line names; the originals are kept beside it."""
    parser = argparse.ArgumentParser(
        prog="upgrade_checkpoint",
        description="Bring checkpoints of earlier releases to today's layout. The originals are "
        "kept as *.bak. Runs read older files as they are; this only saves them the work.",
    )
    parser.add_argument("path", type=Path, help="a checkpoint, or a folder of checkpoints")
    parser.add_argument("-e", "--extension", default=".ckpt", help="of the files in a folder")
    parser.add_argument("--map-to-cpu", action="store_true", help="move all tensors to the CPU")
    options = parser.parse_args(arguments)
    if not options.path.exists():
        parser.error(f"there is no {str(options.path)!r}")
    found = files_at(options.path, options.extension)
    if not found:
        parser.error(f"no *{options.extension} below {str(options.path)!r}: pass --extension")
    failures = 0
    for file in found:
        try:
            backup = upgrade_file(file, map_to_cpu=options.map_to_cpu)
        except CheckpointError as error:
            failures += 1
            print(f"not upgraded: {error}", file=sys.stderr)
        else:
            print(f"{file}: upgraded; the original is {backup}")
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
