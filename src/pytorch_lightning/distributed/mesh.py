"""Processes in a grid, with a name for each direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytorch_lightning.utilities.exceptions import MisconfigurationException

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def make_mesh(kind: str, world: int, axes: dict[str, int], said: str) -> DeviceMesh:
    """A grid of all processes.

    Args:
        kind: The type of device, such as "cuda".
        axes: How many processes lie along each direction.
        said: The arguments that ask for it, for errors.
    """
    from torch.distributed.device_mesh import init_device_mesh

    size = 1
    for length in axes.values():
        size *= length
    if size != world:
        product = " x ".join(map(str, axes.values()))
        raise MisconfigurationException(
            f"{said}: {product} = {size} processes are asked for, and this run has {world}. Make "
            "the product equal to `devices` times `num_nodes`."
        )
    return init_device_mesh(kind, tuple(axes.values()), mesh_dim_names=tuple(axes))


def check_size(name: str, value: object) -> None:
    """Refuse what is no length of a direction."""
    if value != "auto" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"`{name}={value!r}`: pass a number from 1 on, or 'auto'.")
