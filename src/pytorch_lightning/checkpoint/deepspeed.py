"""Folders that DeepSpeed writes."""

import importlib
import os
from pathlib import Path
from typing import Any

import torch

from pytorch_lightning.checkpoint.reader import read_checkpoint
from pytorch_lightning.checkpoint.zero_files import check_folder
from pytorch_lightning.utilities.imports import import_optional
from pytorch_lightning.utilities.paths import PathLike

__all__ = ["convert_zero_checkpoint_to_fp32_state_dict", "ds_checkpoint_dir"]

# What DeepSpeed keeps in the file of the model beside what it was given.
_ITS_OWN = frozenset(
    (
        "module",
        "buffer_names",
        "optimizer",
        "param_shapes",
        "frozen_param_shapes",
        "shared_params",
        "frozen_param_fragments",
        "lr_scheduler",
        "data_sampler",
        "random_ltd",
        "sparse_tensor_module_names",
        "skipped_steps",
        "global_steps",
        "global_samples",
        "dp_world_size",
        "mp_world_size",
        "ds_config",
        "ds_version",
        "checkpoint_parallel_dimensions",
    )
)


def ds_checkpoint_dir(checkpoint_dir: PathLike, tag: str | None = None) -> str:
    """The folder below `checkpoint_dir` that holds the states of one step.

    Args:
        tag: Its name; the one that the file `latest` tells by default.
    """
    root = os.fspath(checkpoint_dir)
    if tag is None:
        latest = os.path.join(root, "latest")
        if not os.path.isfile(latest):
            raise ValueError(f"No file 'latest' in `checkpoint_dir={root!r}`: pass `tag`.")
        with open(latest) as file:
            tag = file.read().strip()
    folder = os.path.join(root, tag)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"There is no folder {folder!r}; check `checkpoint_dir` and `tag`.")
    return folder


def convert_zero_checkpoint_to_fp32_state_dict(
    checkpoint_dir: PathLike, output_file: PathLike, tag: str | None = None
) -> dict[str, Any]:
    """Make one file of a folder, with all weights in 32 bits; no GPU is needed.

    Args:
        tag: The name of the folder inside; the one that the file `latest` tells by default.

    Returns:
        What the file holds: `state_dict`, and what the trainer saved beside it.

    Raises:
        CheckpointError: A file names more than tensors and plain classes of DeepSpeed.
    """
    checkpoint = read_folder(checkpoint_dir, tag)
    weights = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: _widened(value) for name, value in weights.items()}
    unfinished = f"{os.fspath(output_file)}.unfinished"
    torch.save(checkpoint, unfinished)
    os.replace(unfinished, output_file)
    return checkpoint


def read_folder(
    checkpoint_dir: PathLike, tag: str | None = None, weights_only: bool | None = None
) -> dict[str, Any]:
    """All weights as `state_dict`, and what the trainer saved beside them.

    Args:
        weights_only: False is your word that you trust the files: they may then run code.
    """
    folder = Path(ds_checkpoint_dir(checkpoint_dir, tag))
    models = sorted(folder.glob("*model_states.pt"))
    if not models:
        raise FileNotFoundError(f"There is no file '*model_states.pt' in {str(folder)!r}.")
    found = read_checkpoint(models[0], "cpu", weights_only)
    weights = found["module"]
    if list(folder.glob("*zero_pp_rank_*optim_states.pt")):  # also those that ZeRO has split
        if weights_only is not False:
            check_folder(folder)
        import_optional("deepspeed", purpose="`convert_zero_checkpoint_to_fp32_state_dict`")
        conversion: Any = importlib.import_module("deepspeed.utils.zero_to_fp32")
        weights = conversion.get_fp32_state_dict_from_zero_checkpoint(
            os.fspath(checkpoint_dir), folder.name
        )
    given = {name: value for name, value in found.items() if name not in _ITS_OWN}
    return {**given, "state_dict": dict(weights)}


def _widened(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() else value
