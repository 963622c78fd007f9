import pytest
import torch

from pytorch_lightning.accelerators import MPSAccelerator
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@pytest.fixture
def mac(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


@pytest.mark.parametrize("devices", [1, "1", -1, "-1", [0], "0,"])
def test_there_is_one(mac, devices):
    assert MPSAccelerator.parse_devices(devices) == [0]
    assert MPSAccelerator.get_parallel_devices(devices) == [torch.device("mps", 0)]
    assert MPSAccelerator.auto_device_count() == 1
    assert MPSAccelerator.name() == "mps"


@pytest.mark.parametrize("devices", [2, "2", [1], [0, 1]])
def test_more_is_refused(mac, devices):
    with pytest.raises(MisconfigurationException, match="MPS device"):
        MPSAccelerator.parse_devices(devices)


def test_elsewhere_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert not MPSAccelerator.is_available()
    MPSAccelerator().teardown()
    with pytest.raises(MisconfigurationException, match="no MPS device"):
        MPSAccelerator.parse_devices(1)


def test_it_takes_no_other_device():
    MPSAccelerator().setup_device(torch.device("mps", 0))
    with pytest.raises(MisconfigurationException, match="`device=cpu`"):
        MPSAccelerator().setup_device(torch.device("cpu"))


def test_teardown_empties_the_cache(mac, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: calls.append(1))
    MPSAccelerator().teardown()
    assert calls == [1]


def test_stats_are_of_the_device_and_the_machine(mac, monkeypatch):
    pytest.importorskip("psutil")
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 10)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 20)
    stats = MPSAccelerator().get_device_stats("mps")
    assert (stats["mps_allocated_bytes"], stats["mps_driver_bytes"]) == (10, 20)
    assert {"M1_vm_percent", "M1_percent", "M1_swap_percent"} < set(stats)
