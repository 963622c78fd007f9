import pytest
import torch

from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@pytest.mark.parametrize(("devices", "count"), [(1, 1), (3, 3), ("2", 2), (" 4 ", 4)])
def test_devices_is_a_number_of_processes(devices, count):
    assert CPUAccelerator.parse_devices(devices) == count
    assert CPUAccelerator.get_parallel_devices(devices) == [torch.device("cpu")] * count


@pytest.mark.parametrize("devices", [0, -2, [0], "0,1", "one", 1.5, True, None])
def test_anything_else_is_refused_by_name_and_value(devices):
    with pytest.raises(TypeError, match="`devices="):
        CPUAccelerator.parse_devices(devices)


def test_it_is_always_there_with_one_process():
    assert CPUAccelerator.is_available()
    assert CPUAccelerator.auto_device_count() == 1
    assert CPUAccelerator.name() == "cpu"


def test_it_takes_no_other_device():
    CPUAccelerator().setup_device(torch.device("cpu"))
    with pytest.raises(MisconfigurationException, match="meta"):
        CPUAccelerator().setup_device(torch.device("meta"))


def test_stats_are_percentages():
    pytest.importorskip("psutil")
    stats = CPUAccelerator().get_device_stats("cpu")
    assert set(stats) == {"cpu_percent", "cpu_vm_percent", "cpu_swap_percent"}
    assert all(0 <= value <= 100 for value in stats.values())


def test_stats_without_psutil_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)
    with pytest.raises(ModuleNotFoundError, match="pip install psutil"):
        CPUAccelerator().get_device_stats("cpu")
