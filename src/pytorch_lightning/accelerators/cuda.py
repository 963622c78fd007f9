"""GPUs of NVIDIA, and those of AMD, which torch calls by the same name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from pytorch_lightning.accelerators.accelerator import Accelerator
from pytorch_lightning.accelerators.indices import parse_indices
from pytorch_lightning.accelerators.nvidia_smi import utilization
from pytorch_lightning.utilities.environ import read_text
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_info, warnings_given

if TYPE_CHECKING:
    from pytorch_lightning.trainer.trainer import Trainer

_TENSOR_CORES = 8  # of this generation on, float32 can be multiplied in TF32


class CUDAAccelerator(Accelerator):
    """Computes on GPUs that torch reaches as `cuda`."""

    def setup_device(self, device: torch.device) -> None:
        """Make the device the current one of this process."""
        if device.type != "cuda":
            raise MisconfigurationException(
                f"`device={device}`: the CUDA accelerator takes 'cuda' devices only. Pass the "
                "accelerator that belongs to the device."
            )
        torch.cuda.set_device(device)
        _hint_at_precision(device)

    def setup(self, trainer: Trainer) -> None:
        """Say which GPUs can be seen, and free what an earlier run left in the cache."""
        self.set_nvidia_flags(trainer.local_rank)
        _empty_cache()

    @staticmethod
    def set_nvidia_flags(local_rank: int) -> None:
        """Say which GPUs this process can see."""
        visible = read_text("CUDA_VISIBLE_DEVICES")
        if visible is None:
            visible = ",".join(map(str, range(torch.cuda.device_count())))
        rank_zero_info(f"LOCAL_RANK: {local_rank} - CUDA_VISIBLE_DEVICES: [{visible}]")

    def get_device_stats(self, device: torch.device | str | int) -> dict[str, Any]:
        """What the allocator counts; what `nvidia-smi` shows where another one is in use."""
        place = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        try:
            found: dict[str, Any] = torch.cuda.memory_stats(place)
        except RuntimeError:  # cudaMallocAsync and pluggable allocators do not count
            return utilization(place.index or 0)
        return found

    def teardown(self) -> None:
        """Give cached memory back to the device."""
        _empty_cache()

    @staticmethod
    def parse_devices(devices: int | str | list[int]) -> list[int]:
        """The indices of the GPUs that were asked for."""
        return parse_indices(devices, CUDAAccelerator.auto_device_count(), "GPU")

    @staticmethod
    def get_parallel_devices(devices: list[int]) -> list[torch.device]:
        """The GPUs with these indices."""
        return [torch.device("cuda", index) for index in devices]

    @staticmethod
    def auto_device_count() -> int:
        """All that are visible, counted without starting CUDA, so that one can still fork."""
        return torch.cuda.device_count()

    @staticmethod
    def is_available() -> bool:
        """Whether there is one; asking does not start CUDA either."""
        return torch.cuda.device_count() > 0

    @staticmethod
    def name() -> str:
        """Its name in the registry."""
        return "cuda"


def find_usable_cuda_devices(num_devices: int = -1) -> list[int]:
    """The indices of GPUs on which memory can be had, such as those that nobody holds exclusively.

    Args:
        num_devices: How many; -1 for all that can be used.

    Raises:
        ValueError: If there are fewer GPUs.
        RuntimeError: If there are enough, but too few can be used.
    """
    if num_devices == 0:
        return []
    visible = torch.cuda.device_count()
    if num_devices < -1 or num_devices > visible or visible == 0:
        raise ValueError(
            f"`find_usable_cuda_devices({num_devices})`: this machine shows {visible} GPU(s). Pass "
            "a number that is not above it, or -1 for all."
        )
    found: list[int] = []
    for index in range(visible):
        if len(found) == num_devices:
            break
        if _is_usable(index):
            found.append(index)
    if len(found) < num_devices:
        raise RuntimeError(
            f"`find_usable_cuda_devices({num_devices})`: only {len(found)} of {visible} GPU(s) can "
            f"be used now: {found}. Wait for the others, or ask for fewer."
        )
    return found


def _is_usable(index: int) -> bool:
    try:
        torch.empty(1, device=torch.device("cuda", index))
    except RuntimeError:
        return False
    return True


def _empty_cache() -> None:
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # of torch
        torch.cuda.empty_cache()


def _hint_at_precision(device: torch.device) -> None:
    if torch.version.hip is not None or torch.get_float32_matmul_precision() != "highest":
        return
    if torch.cuda.get_device_capability(device)[0] >= _TENSOR_CORES:
        warnings_given.info(
            f"{torch.cuda.get_device_name(device)} has Tensor Cores, which float32 does not use: "
            "`torch.set_float32_matmul_precision('high')` trades some digits for speed."
        )
