"""What XLA devices need, without the package; tests/xla trains on them."""

import importlib.util

import pytest
import torch

from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import AcceleratorRegistry, XLAAccelerator
from pytorch_lightning.plugins import XLACheckpointIO, XLAPrecision
from pytorch_lightning.strategies import SingleDeviceXLAStrategy, StrategyRegistry, XLAStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

without_package = pytest.mark.skipif(
    importlib.util.find_spec("torch_xla") is not None, reason="the package is there"
)


def test_the_names():
    assert StrategyRegistry["xla_debug"].init_params == {"debug": True}
    assert StrategyRegistry["xla"].provider is XLAStrategy
    for name in ("single_xla", "single_tpu"):
        assert StrategyRegistry[name].provider is SingleDeviceXLAStrategy
    assert AcceleratorRegistry["tpu"].provider is XLAAccelerator


@without_package
def test_without_the_package_there_is_no_such_device():
    assert not XLAAccelerator.is_available() and XLAAccelerator.auto_device_count() == 0
    with pytest.raises(MisconfigurationException, match="no such device"):
        Trainer(accelerator="tpu")


@without_package
@pytest.mark.parametrize("make", [XLAStrategy, XLACheckpointIO])
def test_without_the_package_a_sentence_says_how_to_get_it(make):
    with pytest.raises(ModuleNotFoundError, match="pip install torch_xla"):
        make()


def test_only_its_own_devices():
    with pytest.raises(MisconfigurationException, match="takes 'xla' only"):
        XLAAccelerator().setup_device(torch.device("cpu"))
    with pytest.raises(MisconfigurationException, match="'tpu'"):
        Trainer(accelerator="cpu", strategy="single_xla")
    assert SingleDeviceXLAStrategy(3).root_device == torch.device("xla", 3)


def test_its_precision_widens_and_narrows():
    with pytest.raises(ValueError, match="'16-mixed'"):
        XLAPrecision("16-mixed")
    half = XLAPrecision("bf16-true")
    module = half.convert_module(torch.nn.Linear(2, 2))
    assert module.weight.dtype == half.convert_input(torch.ones(2)).dtype == torch.bfloat16
    with half.tensor_init_context():
        assert torch.ones(1).dtype == torch.bfloat16
    assert half.convert_output(module.weight.detach()).dtype == torch.float32
    batch = torch.ones(2)
    assert XLAPrecision().convert_input(batch) is batch
