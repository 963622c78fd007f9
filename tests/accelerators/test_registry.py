import pytest
import torch

from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry, CPUAccelerator
from pytorch_lightning.fabric import Fabric
from pytorch_lightning.utilities.exceptions import MisconfigurationException


class FakeAccelerator(Accelerator):
    def __init__(self, size: int = 1) -> None:
        self.size = size
        self.prepared: list[torch.device] = []

    def setup_device(self, device):
        self.prepared.append(device)

    def teardown(self):
        self.prepared.clear()

    @staticmethod
    def parse_devices(devices):
        return devices

    @staticmethod
    def get_parallel_devices(devices):
        return [torch.device("meta", index) for index in range(devices)]

    @staticmethod
    def auto_device_count():
        return 1

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def name():
        return "fake"


@pytest.fixture
def fake():
    FakeAccelerator.register_accelerators(AcceleratorRegistry)
    yield
    AcceleratorRegistry.remove("fake")


def test_a_third_party_registers_one_and_gets_it_by_name(fake):
    fabric = Fabric(accelerator="fake")
    assert isinstance(fabric.accelerator, FakeAccelerator)
    assert fabric.accelerator.prepared == [torch.device("meta", 0)]
    assert fabric.device == torch.device("meta", 0)


def test_auto_prefers_a_registered_one_over_the_cpu(fake):
    assert isinstance(Fabric().accelerator, FakeAccelerator)


def test_arguments_given_at_registration_reach_the_class():
    AcceleratorRegistry.register("sized", FakeAccelerator, size=7)
    try:
        assert AcceleratorRegistry.get("sized").size == 7
    finally:
        AcceleratorRegistry.remove("sized")
    assert "sized" not in AcceleratorRegistry.available_accelerators()


def test_register_serves_as_a_decorator():
    @AcceleratorRegistry.register("decorated", description="by decorator")
    class Decorated(FakeAccelerator):
        pass

    try:
        assert type(AcceleratorRegistry.get("decorated")) is Decorated
        assert AcceleratorRegistry["decorated"].description == "by decorator"
    finally:
        AcceleratorRegistry.remove("decorated")


def test_a_name_is_not_taken_twice_unless_asked():
    with pytest.raises(MisconfigurationException, match="already"):
        AcceleratorRegistry.register("cpu", FakeAccelerator)
    AcceleratorRegistry.register("cpu", CPUAccelerator, override=True)
    assert isinstance(AcceleratorRegistry.get("cpu"), CPUAccelerator)


def test_a_name_must_be_a_string():
    with pytest.raises(TypeError, match="string"):
        AcceleratorRegistry.register(3, FakeAccelerator)


def test_an_unknown_name_says_what_is_known():
    with pytest.raises(KeyError, match="cpu"):
        AcceleratorRegistry.get("cpus")
    assert AcceleratorRegistry.get("cpus", default="none") == "none"
