import os
import stat

import pytest
import torch

from pytorch_lightning.accelerators import CUDAAccelerator, find_usable_cuda_devices
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@pytest.fixture
def two(monkeypatch):
    """Let torch count two devices; nothing here touches them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_counting_does_not_start_cuda(monkeypatch):
    def refuse():
        raise AssertionError("CUDA was started")

    monkeypatch.setattr(torch.cuda, "init", refuse)
    monkeypatch.setattr(torch.cuda, "_lazy_init", refuse)
    count = CUDAAccelerator.auto_device_count()
    assert CUDAAccelerator.is_available() == (count > 0)
    assert not torch.cuda.is_initialized()


def test_none_is_hidden_by_the_variable(two, monkeypatch):
    assert CUDAAccelerator.is_available()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert not CUDAAccelerator.is_available()


@pytest.mark.parametrize(
    ("devices", "indices"),
    [
        (1, [0]),
        (2, [0, 1]),
        ("2", [0, 1]),
        (-1, [0, 1]),
        ("-1", [0, 1]),
        ([1], [1]),
        ("1,0", [1, 0]),
    ],
)
def test_spellings_of_devices(two, devices, indices):
    parsed = CUDAAccelerator.parse_devices(devices)
    assert parsed == indices
    places = CUDAAccelerator.get_parallel_devices(parsed)
    assert places == [torch.device("cuda", index) for index in indices]


def test_too_many_names_both_numbers(two):
    with pytest.raises(MisconfigurationException, match=r"`devices=3`.* has 2 GPUs. Pass 1 or 2"):
        CUDAAccelerator.parse_devices(3)
    with pytest.raises(MisconfigurationException, match=r"`devices=\[0, 5\]`: there is no GPU 5"):
        CUDAAccelerator.parse_devices([0, 5])


def test_without_one_the_cure_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for devices in (1, -1, "2"):
        with pytest.raises(MisconfigurationException, match="no GPU. Pass accelerator='cpu'"):
            CUDAAccelerator.parse_devices(devices)


@pytest.mark.parametrize("devices", ["a", "0,a", [True], [0.0], 1.5, {0}, -4, []])
def test_what_is_no_devices_is_refused(two, devices):
    with pytest.raises(TypeError, match="`devices="):
        CUDAAccelerator.parse_devices(devices)


def test_it_takes_no_other_device():
    with pytest.raises(MisconfigurationException, match="`device=cpu`"):
        CUDAAccelerator().setup_device(torch.device("cpu"))


def test_setting_up_chooses_the_device_and_hints_at_tensor_cores(two, monkeypatch, caplog):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A card")
    with caplog.at_level("INFO"):
        CUDAAccelerator().setup_device(torch.device("cuda", 1))
    assert chosen == [torch.device("cuda", 1)]
    assert "A card has Tensor Cores" in caplog.text


@pytest.mark.parametrize(("capability", "chosen"), [((7, 5), "highest"), ((9, 0), "high")])
def test_no_hint_where_there_is_nothing_to_win(two, monkeypatch, caplog, capability, chosen):
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: chosen)
    with caplog.at_level("INFO"):
        CUDAAccelerator().setup_device(torch.device("cuda", 0))
    assert caplog.text == ""


@pytest.mark.parametrize(("running", "times"), [(True, 1), (False, 0)])
def test_teardown_empties_the_cache_where_cuda_runs(monkeypatch, running, times):
    calls = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: running)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append(1))
    CUDAAccelerator().teardown()
    assert len(calls) == times


def test_stats_are_those_of_the_allocator(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda place: asked.append(place) or {"a": 1})
    for device in (1, "cuda:1", torch.device("cuda", 1)):
        assert CUDAAccelerator().get_device_stats(device) == {"a": 1}
    assert asked == [torch.device("cuda", 1)] * 3


def fake_program(folder, monkeypatch):
    program = folder / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "$@" > "$0.asked"\necho "10, 20, 30, 40, [N/A], 50, 60"\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder / "nvidia-smi.asked"


def test_stats_come_from_the_driver_where_the_allocator_does_not_count(tmp_path, monkeypatch):
    def refuse(place):
        raise RuntimeError("cudaMallocAsync does not yet support this")

    monkeypatch.setattr(torch.cuda, "memory_stats", refuse)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-5")
    asked = fake_program(tmp_path, monkeypatch)
    assert CUDAAccelerator().get_device_stats(torch.device("cuda", 1)) == {
        "utilization.gpu (%)": 10.0,
        "memory.used (MB)": 20.0,
        "memory.free (MB)": 30.0,
        "utilization.memory (%)": 40.0,
        "fan.speed (%)": 0.0,
        "temperature.gpu (\u00b0C)": 50.0,
        "temperature.memory (\u00b0C)": 60.0,
    }
    assert "--id=GPU-5" in asked.read_text()


def test_without_the_program_a_sentence_says_where_it_comes_from(tmp_path, monkeypatch):
    def refuse(place):
        raise RuntimeError

    monkeypatch.setattr(torch.cuda, "memory_stats", refuse)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="`nvidia-smi`"):
        CUDAAccelerator().get_device_stats(0)


def busy(taken, monkeypatch):
    def empty(size, *, device):
        if device.index in taken:
            raise RuntimeError("CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(torch, "empty", empty)


@pytest.mark.parametrize(("number", "found"), [(0, []), (1, [1]), (2, [1, 2]), (-1, [1, 2])])
def test_usable_devices_are_those_that_give_memory(monkeypatch, number, found):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    busy({0}, monkeypatch)
    assert find_usable_cuda_devices(number) == found


def test_too_few_usable_devices_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    busy({0, 2}, monkeypatch)
    with pytest.raises(RuntimeError, match=r"only 1 of 3 GPU\(s\) can be used now: \[1\]"):
        find_usable_cuda_devices(2)


@pytest.mark.parametrize(("count", "number"), [(0, 1), (0, -1), (2, 3), (2, -2)])
def test_more_than_there_are_is_a_value_error(monkeypatch, count, number):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=rf"\({number}\)`: this machine shows {count} GPU"):
        find_usable_cuda_devices(number)


@pytest.mark.gpu
def test_a_real_gpu_is_set_up_measured_and_left():
    accelerator = CUDAAccelerator()
    accelerator.setup_device(torch.device("cuda", 0))
    assert torch.cuda.current_device() == 0
    before = torch.ones(1024, device="cuda")
    assert accelerator.get_device_stats(0)["active_bytes.all.current"] >= before.nbytes
    assert find_usable_cuda_devices(1) == [0]
    accelerator.teardown()
