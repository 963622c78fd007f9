import importlib.metadata
import sys
from types import ModuleType

import pytest
import torch

from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import (
    Accelerator,
    AcceleratorRegistry,
    CPUAccelerator,
    call_register_accelerators,
)
from pytorch_lightning.demos.boring_classes import BoringModel
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


# --- accelerators of other packages ---------------------------------------------------------------


class CountingAccelerator(Accelerator):
    """All that a package has to write for a device of its own, which here is the CPU."""

    calls: list[str] = []

    def setup_device(self, device):
        self.calls.append("setup_device")

    def setup(self, trainer):
        self.calls.append("setup")

    def get_device_stats(self, device):
        return {"used": 1.0}

    def teardown(self):
        self.calls.append("teardown")

    @staticmethod
    def parse_devices(devices):
        CountingAccelerator.calls.append("parse_devices")
        return int(devices)

    @staticmethod
    def get_parallel_devices(devices):
        CountingAccelerator.calls.append("get_parallel_devices")
        return [torch.device("cpu")] * devices

    @staticmethod
    def auto_device_count():
        CountingAccelerator.calls.append("auto_device_count")
        return 1

    @staticmethod
    def is_available():
        CountingAccelerator.calls.append("is_available")
        return True

    @staticmethod
    def name():
        return "counting"


@pytest.fixture
def counting():
    CountingAccelerator.calls.clear()
    yield CountingAccelerator
    AcceleratorRegistry.pop("counting", None)


def train(accelerator):
    trainer = Trainer(
        accelerator=accelerator,
        max_steps=2,
        limit_val_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model = BoringModel()
    before = model.layer.weight.detach().clone()
    trainer.fit(model)
    assert trainer.global_step == 2
    assert not torch.equal(model.layer.weight, before)
    return trainer


def test_every_method_of_a_foreign_accelerator_is_called_and_it_trains(counting):
    counting.register_accelerators(AcceleratorRegistry)
    trainer = train("counting")
    assert type(trainer.accelerator) is counting
    assert trainer.accelerator.get_device_stats("cpu") == {"used": 1.0}
    at_construction = [
        "is_available",
        "auto_device_count",
        "parse_devices",
        "get_parallel_devices",
    ]
    assert counting.calls[:4] == at_construction
    assert counting.calls[4:] == ["setup_device", "setup", "teardown"]


def test_an_object_needs_no_name(counting):
    mine = counting()
    assert train(mine).accelerator is mine
    assert "counting" not in AcceleratorRegistry


def test_one_that_is_not_available_is_refused(counting, monkeypatch):
    monkeypatch.setattr(counting, "is_available", staticmethod(lambda: False))
    counting.register_accelerators(AcceleratorRegistry)
    with pytest.raises(MisconfigurationException, match="`accelerator='counting'`"):
        Trainer(accelerator="counting")
    with pytest.raises(MisconfigurationException, match=r"`accelerator=CountingAccelerator\(\)`"):
        Trainer(accelerator=counting())
    assert type(Trainer(logger=False).accelerator) is CPUAccelerator


def package(monkeypatch, found, group="pytorch_lightning.accelerators"):
    """Pretend that an installed package has an entry point."""
    module = ModuleType("accelerator_of_a_package")
    module.found = found
    monkeypatch.setitem(sys.modules, module.__name__, module)
    point = importlib.metadata.EntryPoint("counting", f"{module.__name__}:found", group)
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return [point] if group == point.group else []

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return asked


@pytest.mark.parametrize(
    "group", ["pytorch_lightning.accelerators", "lightning.pytorch.accelerators"]
)
def test_a_package_brings_a_class(counting, monkeypatch, group):
    asked = package(monkeypatch, counting, group)
    assert Fabric(accelerator="cpu") and asked == []  # known names ask nobody
    assert type(Fabric(accelerator="counting").accelerator) is counting
    assert type(Fabric(accelerator="counting").accelerator) is counting


def test_a_package_brings_a_function(counting, monkeypatch):
    package(monkeypatch, lambda registry: registry.register("counting", counting))
    assert type(Fabric(accelerator="counting").accelerator) is counting


def test_a_module_is_searched_for_accelerators(counting):
    module = ModuleType("module_of_accelerators")
    module.Accelerator, module.Mine, module.other = Accelerator, counting, 3
    sys.modules[module.__name__] = module
    try:
        call_register_accelerators(AcceleratorRegistry, module.__name__)
    finally:
        del sys.modules[module.__name__]
    assert type(AcceleratorRegistry.get("counting")) is counting


def test_the_names_of_today():
    assert {"cpu", "cuda", "mps"} <= AcceleratorRegistry.available_accelerators()
