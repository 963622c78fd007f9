import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from pytorch_lightning.plugins.environments import XLAEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only


@pytest.fixture
def runtime(launched, monkeypatch):
    """What `torch_xla.runtime` answers to one process."""
    runtime = SimpleNamespace(
        device_type=lambda: "TPU",
        world_size=lambda: 8,
        global_ordinal=lambda: 5,
        local_ordinal=lambda: 1,
        host_index=lambda: 1,
    )
    package = ModuleType("torch_xla")
    package.__spec__ = ModuleSpec("torch_xla", None)
    monkeypatch.setitem(sys.modules, "torch_xla", package)
    monkeypatch.setitem(sys.modules, "torch_xla.runtime", runtime)
    return runtime


def test_the_runtime_is_asked(runtime):
    environment = XLAEnvironment()
    assert XLAEnvironment.detect()
    assert not environment.creates_processes_externally
    assert (environment.world_size(), environment.global_rank()) == (8, 5)
    assert (environment.local_rank(), environment.node_rank()) == (1, 1)
    environment.set_global_rank(0)
    assert rank_zero_only.rank == 5


def test_the_cpu_of_xla_is_not_found_by_itself(runtime):
    runtime.device_type = lambda: "CPU"
    assert not XLAEnvironment.detect()


@pytest.mark.skipif(importlib.util.find_spec("torch_xla") is not None, reason="it is installed")
def test_without_the_package(launched):
    assert not XLAEnvironment.detect()
    with pytest.raises(ModuleNotFoundError, match="pip install torch_xla"):
        XLAEnvironment()
