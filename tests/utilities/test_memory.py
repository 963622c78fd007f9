import pytest
import torch
from torch import nn

from pytorch_lightning.utilities.memory import (
    garbage_collection_cuda,
    get_model_size_mb,
    is_cuda_out_of_memory,
    is_cudnn_snafu,
    is_oom_error,
    is_out_of_cpu_memory,
)


@pytest.mark.parametrize(
    ("error", "recognised"),
    [
        (RuntimeError("CUDA error: out of memory"), is_cuda_out_of_memory),
        (torch.OutOfMemoryError("Tried to allocate"), is_cuda_out_of_memory),
        (RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED."), is_cudnn_snafu),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), is_out_of_cpu_memory),
        (MemoryError(), is_out_of_cpu_memory),
    ],
)
def test_errors_of_memory_are_told_from_others(error, recognised):
    assert recognised(error)
    assert is_oom_error(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("CUDA out of memory")])
def test_other_errors_are_none_of_memory(error):
    assert not is_oom_error(error)


def test_garbage_can_be_collected_without_a_gpu():
    garbage_collection_cuda()


def test_model_size_counts_parameters_and_buffers():
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.BatchNorm1d(10, affine=False))
    assert get_model_size_mb(model) == pytest.approx((400 + 80 + 8) / 1e6)
