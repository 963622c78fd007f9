"""Bring a checkpoint in parts into one file: `python -m ...utilities.consolidate_checkpoint`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.checkpoint.sharded import META, is_sharded, read_whole

_SUFFIX = ".consolidated"


def consolidate(folder: str | Path, output_file: str | Path | None = None) -> Path:
    """Write one file that holds what a folder of parts holds; the folder stays.

    Args:
        output_file: By default a file beside the folder, with its name and '.consolidated'.

    Returns:
        The file.

    Raises:
        FileExistsError: There is such a file already.
        CheckpointError: Some part is missing or damaged.
    """
    source = Path(folder)
    target = source.with_name(source.name + _SUFFIX) if output_file is None else Path(output_file)
    if target.exists():
        raise FileExistsError(
            f"`output_file`: {str(target)!r} exists already. Pass another name, or move it away."
        )
    TorchCheckpointIO().save_checkpoint(read_whole(source), target)
    return target


def main(arguments: Sequence[str] | None = None) -> None:
    """Consolidate what the command line names."""
    parser = argparse.ArgumentParser(
        prog="consolidate_checkpoint",
        description="Bring a checkpoint in parts, as FSDP and model parallel runs save them, into "
        "one file that `torch.load(weights_only=True)` reads. The folder stays as it is.",
    )
    parser.add_argument("checkpoint_folder", type=Path, help="the folder that holds the parts")
    parser.add_argument(
        "--output_file", type=Path, help="the new file; by default <folder>.consolidated"
    )
    options = parser.parse_args(arguments)
    folder = options.checkpoint_folder
    if not is_sharded(folder):
        why = f"holds no {META}" if folder.is_dir() else "is no folder"
        parser.error(f"{str(folder)!r} {why}, so it is no checkpoint in parts")
    print(f"{folder}: consolidated into {consolidate(folder, options.output_file)}")


if __name__ == "__main__":
    main()
