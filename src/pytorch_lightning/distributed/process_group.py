"""The processes of a run find each other, and part again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from pytorch_lightning.distributed.environments import ClusterEnvironment

DEFAULT_TIMEOUT = timedelta(minutes=30)
_control: dict[str, Any] = {}


def join_group(
    environment: ClusterEnvironment,
    *,
    backend: str,
    timeout: timedelta = DEFAULT_TIMEOUT,
    plan: Mapping[str, Any] | None = None,
) -> None:
    """Meet the other processes; does nothing where the group is there already.

    Args:
        plan: What every process has to agree on: number of processes, precision and the like.
    """
    if dist.is_initialized():
        return
    store = dist.TCPStore(  # type: ignore[attr-defined]  # it is public all the same
        environment.main_address,
        environment.main_port,
        environment.world_size(),
        is_master=environment.global_rank() == 0,
        timeout=timeout,
        wait_for_workers=False,
    )
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("run", store),  # type: ignore[attr-defined]  # likewise
        rank=environment.global_rank(),
        world_size=environment.world_size(),
        timeout=timeout,
    )


def control_group() -> Any:
    """A group for small messages on the CPU, apart from the one that gradients travel in."""
    if "group" not in _control:
        _control["group"] = dist.new_group(backend="gloo")
    return _control["group"]


def leave_group() -> None:
    """End the group of this process."""
    _control.clear()
    if dist.is_initialized():
        dist.destroy_process_group()
