"""Memory: which errors say that it ran out, and how to give some back."""

import gc
from typing import Any

import torch
from torch import nn

from pytorch_lightning.utilities.tree import apply_to_collection, detach

__all__ = [
    "apply_to_collection",
    "garbage_collection_cuda",
    "get_model_size_mb",
    "is_cuda_out_of_memory",
    "is_cudnn_snafu",
    "is_oom_error",
    "is_out_of_cpu_memory",
    "recursive_detach",
]

_CUDNN = "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."
_CPU_PHRASES = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough")


def recursive_detach(in_dict: Any, to_cpu: bool = False) -> Any:
    """Cut the tensors of a collection off their graphs."""
    return detach(in_dict, to_cpu=to_cpu)


def is_oom_error(exception: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    return (
        is_cuda_out_of_memory(exception)
        or is_cudnn_snafu(exception)
        or is_out_of_cpu_memory(exception)
    )


def is_cuda_out_of_memory(exception: BaseException) -> bool:
    """Whether a GPU had no memory left."""
    if isinstance(exception, torch.OutOfMemoryError):
        return True
    return (
        isinstance(exception, RuntimeError)
        and "CUDA" in str(exception)
        and "out of memory" in str(exception)
    )


def is_cudnn_snafu(exception: BaseException) -> bool:
    """Whether cuDNN failed in the way it does when memory is short."""
    return isinstance(exception, RuntimeError) and _CUDNN in str(exception)


def is_out_of_cpu_memory(exception: BaseException) -> bool:
    """Whether the host had no memory left."""
    if isinstance(exception, MemoryError):
        return True
    text = str(exception)
    return isinstance(exception, RuntimeError) and any(phrase in text for phrase in _CPU_PHRASES)


def garbage_collection_cuda() -> None:
    """Collect garbage and hand cached GPU memory back to the driver."""
    gc.collect()
    if not torch.cuda.is_available():
        return
    try:
        torch.cuda.empty_cache()
    except RuntimeError as error:
        if not is_oom_error(error):  # a device that is out of memory may fail here as well
            raise


def get_model_size_mb(model: nn.Module) -> float:
    """The size of parameters and buffers in megabytes."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(t.numel() * t.element_size() for t in tensors) / 1e6
