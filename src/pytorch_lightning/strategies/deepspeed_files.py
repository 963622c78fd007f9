"""The checkpoint folders of DeepSpeed."""

from __future__ import annotations

import os
from typing import Any

from pytorch_lightning.checkpoint.deepspeed import read_folder
from pytorch_lightning.checkpoint.plain import from_plain, to_plain
from pytorch_lightning.checkpoint.zero_files import check_folder
from pytorch_lightning.strategies.parallel import ParallelStrategy
from pytorch_lightning.utilities.exceptions import CheckpointError
from pytorch_lightning.utilities.paths import is_remote

TAG = "checkpoint"
_OF_ENGINE = ("state_dict", "optimizer_states")


def save(strategy: ParallelStrategy, engine: Any, checkpoint: dict[str, Any], path: str) -> None:
    """Write a folder beside its place, then put it there; all processes take part."""
    if is_remote(path):
        raise CheckpointError(
            f"`{path}`: DeepSpeed writes folders of this machine. Pass a local path."
        )
    first, unfinished = strategy.is_global_zero, f"{path.rstrip(os.sep)}.unfinished"
    if first:
        strategy.checkpoint_io.remove_checkpoint(unfinished)
        os.makedirs(unfinished)
    strategy.barrier("DeepSpeed folder")
    rest = {name: value for name, value in checkpoint.items() if name not in _OF_ENGINE}
    engine.save_checkpoint(
        unfinished,
        tag=TAG,
        client_state=to_plain(rest, "checkpoint"),
        exclude_frozen_parameters=getattr(strategy, "exclude_frozen_parameters", False),
    )
    strategy.barrier("DeepSpeed folder is written")
    if first:
        strategy.checkpoint_io.remove_checkpoint(path)
        os.rename(unfinished, path)
    strategy.barrier("DeepSpeed folder is in place")


def load(engine: Any, path: str, weights_only: bool | None, *, strict: bool) -> dict[str, Any]:
    """Let the engine take weights and optimizer out of a folder that was looked through.

    Returns:
        What the trainer has to take.
    """
    if weights_only is not False:
        check_folder(os.path.join(path, _tag_of(path)))
    found, rest = engine.load_checkpoint(
        path, tag=_tag_of(path), load_module_strict=strict, load_lr_scheduler_states=False
    )
    if found is None:
        raise CheckpointError(f"`{path}`: DeepSpeed finds no checkpoint in it.")
    return {**from_plain(rest), "state_dict": {}, "optimizer_states": []}


def read(path: str, weights_only: bool | None) -> dict[str, Any]:
    """All the weights of a folder, for evaluation, and what the trainer saved beside them."""
    return {**read_folder(path, _tag_of(path), weights_only), "optimizer_states": []}


def _tag_of(path: str) -> str:
    if not os.path.isdir(os.path.join(path, TAG)):
        raise CheckpointError(
            f"`{path}` is no checkpoint of `strategy='deepspeed'`: it has no folder {TAG!r}."
        )
    return TAG
