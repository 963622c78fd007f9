import pytest
import torch

from pytorch_lightning.accelerators import CPUAccelerator
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.distributed import LightningEnvironment
from pytorch_lightning.fabric.resolve import canonical_precision, resolve
from pytorch_lightning.precision import (
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
)
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@pytest.fixture(autouse=True)
def not_launched(monkeypatch):
    for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_the_defaults_are_one_cpu_and_32_bits():
    parts = resolve()
    assert type(parts.accelerator) is CPUAccelerator
    assert type(parts.strategy) is SingleDeviceStrategy
    assert type(parts.precision) is Precision
    assert type(parts.environment) is LightningEnvironment
    assert type(parts.checkpoint_io) is TorchCheckpointIO
    assert parts.devices == (torch.device("cpu"),)
    assert (parts.num_devices, parts.num_nodes, parts.sync_batchnorm) == (1, 1, False)


def test_the_strategy_holds_the_other_parts():
    parts = resolve(precision="64-true")
    assert parts.strategy.accelerator is parts.accelerator
    assert parts.strategy.precision_plugin is parts.precision
    assert parts.strategy.checkpoint_io is parts.checkpoint_io


def test_none_means_the_default_everywhere():
    parts = resolve(
        accelerator=None, strategy=None, devices=None, num_nodes=None, precision=None, plugins=None
    )
    assert type(parts.strategy) is SingleDeviceStrategy
    assert parts.num_devices == 1


@pytest.mark.parametrize("devices", ["auto", 1, "1", -1, "-1", " 1 "])
def test_spellings_of_one_device(devices):
    assert resolve(devices=devices).num_devices == 1


@pytest.mark.parametrize(
    ("written", "kind", "canonical"),
    [
        (None, Precision, "32-true"),
        (32, Precision, "32-true"),
        ("32", Precision, "32-true"),
        ("32-true", Precision, "32-true"),
        (64, DoublePrecision, "64-true"),
        ("64", DoublePrecision, "64-true"),
        ("64-true", DoublePrecision, "64-true"),
        (16, MixedPrecision, "16-mixed"),
        ("16", MixedPrecision, "16-mixed"),
        ("mixed", MixedPrecision, "16-mixed"),
        ("16-mixed", MixedPrecision, "16-mixed"),
        ("bf16", MixedPrecision, "bf16-mixed"),
        ("bf16-mixed", MixedPrecision, "bf16-mixed"),
        ("16-true", HalfPrecision, "16-true"),
        ("bf16-true", HalfPrecision, "bf16-true"),
    ],
)
def test_every_spelling_of_a_precision(written, kind, canonical):
    precision = resolve(precision=written).precision
    assert type(precision) is kind
    assert precision.precision == canonical == canonical_precision(written)


def test_plugins_are_taken_alone_or_in_a_list():
    precision, io, environment = DoublePrecision(), TorchCheckpointIO(), LightningEnvironment()
    parts = resolve(plugins=[precision, io, environment])
    assert parts.precision is parts.strategy.precision_plugin is precision
    assert parts.checkpoint_io is parts.strategy.checkpoint_io is io
    assert parts.environment is environment
    assert resolve(plugins=precision).precision is precision


def test_parts_inside_a_strategy_are_kept():
    strategy = SingleDeviceStrategy(
        accelerator=CPUAccelerator(),
        precision_plugin=DoublePrecision(),
        checkpoint_io=TorchCheckpointIO(),
    )
    parts = resolve(strategy=strategy)
    assert parts.strategy is strategy
    assert parts.accelerator is strategy.accelerator
    assert type(parts.precision) is DoublePrecision


def test_a_strategy_object_can_be_used_again():
    strategy = SingleDeviceStrategy()
    assert type(resolve(strategy=strategy, precision="64").precision) is DoublePrecision
    assert type(resolve(strategy=strategy, precision="bf16").precision) is MixedPrecision
    assert type(resolve(strategy=strategy).precision) is Precision


def test_a_part_that_a_subclass_sets_itself_is_kept():
    class Mine(SingleDeviceStrategy):
        def __init__(self):
            super().__init__()
            self.precision_plugin = DoublePrecision()

    assert type(resolve(strategy=Mine()).precision) is DoublePrecision
    with pytest.raises(MisconfigurationException, match="chosen twice"):
        resolve(strategy=Mine(), precision="32-true")


REFUSED = {
    "unknown accelerator": (dict(accelerator="cpuu"), ValueError, "Did you mean 'cpu'"),
    "case of letters": (dict(accelerator="CPU"), ValueError, "Did you mean 'cpu'"),
    "a number as accelerator": (dict(accelerator=3), ValueError, "`accelerator=3`"),
    "a strategy as accelerator": (dict(accelerator="ddp"), ValueError, "`strategy=`"),
    "gpu": (dict(accelerator="gpu"), MisconfigurationException, "Available: 'cpu'"),
    "cuda": (dict(accelerator="cuda"), MisconfigurationException, "Available: 'cpu'"),
    "mps": (dict(accelerator="mps"), MisconfigurationException, "Available: 'cpu'"),
    "tpu": (dict(accelerator="tpu"), MisconfigurationException, "Available: 'cpu'"),
    "hpu": (dict(accelerator="hpu"), ValueError, "was removed"),
    "ipu": (dict(accelerator="ipu"), ValueError, "was removed"),
    "unknown strategy": (dict(strategy="single_devise"), ValueError, "Did you mean"),
    "a number as strategy": (dict(strategy=4), ValueError, "`strategy=4`"),
    "dp": (dict(strategy="dp"), ValueError, "'ddp'"),
    "ddp2": (dict(strategy="ddp2"), ValueError, "'ddp'"),
    "horovod": (dict(strategy="horovod"), ValueError, "'ddp'"),
    "bagua": (dict(strategy="bagua"), ValueError, "'ddp'"),
    "ddp_sharded": (dict(strategy="ddp_sharded"), ValueError, "'fsdp'"),
    "ddp": (dict(strategy="ddp"), MisconfigurationException, "'auto'"),
    "ddp, find unused": (
        dict(strategy="ddp_spawn_find_unused_parameters_true"),
        MisconfigurationException,
        "'auto'",
    ),
    "fsdp": (dict(strategy="fsdp"), MisconfigurationException, "'auto'"),
    "deepspeed": (dict(strategy="deepspeed_stage_2"), MisconfigurationException, "'auto'"),
    "single_tpu": (dict(strategy="single_tpu"), MisconfigurationException, "TPU"),
    "no device": (dict(devices=0), MisconfigurationException, "`devices=0`"),
    "no device in a string": (dict(devices="0"), MisconfigurationException, "`devices='0'`"),
    "no device in a list": (dict(devices=[]), MisconfigurationException, r"`devices=\[\]`"),
    "a truth as devices": (dict(devices=True), MisconfigurationException, "`devices=True`"),
    "a list on the cpu": (dict(devices=[0]), TypeError, r"`devices=\[0\]`"),
    "a negative number": (dict(devices=-2), TypeError, "`devices=-2`"),
    "no number": (dict(devices="two"), TypeError, "`devices='two'`"),
    "two processes": (dict(devices=2), MisconfigurationException, "2 processes"),
    "two in a string": (dict(devices="2"), MisconfigurationException, "2 processes"),
    "no node": (dict(num_nodes=0), ValueError, "`num_nodes=0`"),
    "a string as nodes": (dict(num_nodes="1"), ValueError, "`num_nodes='1'`"),
    "two nodes": (dict(num_nodes=2), MisconfigurationException, "`num_nodes=2`"),
    "unknown precision": (dict(precision="32-tru"), ValueError, "Did you mean '32-true'"),
    "precision in capitals": (dict(precision="BF16-mixed"), ValueError, "'bf16-mixed'"),
    "8 bits": (dict(precision=8), ValueError, "`precision=8`"),
    "a float as precision": (dict(precision=32.0), ValueError, "`precision=32.0`"),
    "transformer engine": (
        dict(precision="transformer-engine"),
        MisconfigurationException,
        "transformer_engine",
    ),
    "precision twice": (
        dict(precision="32-true", plugins=DoublePrecision()),
        ValueError,
        "Choose one",
    ),
    "two precisions": (
        dict(plugins=[Precision(), DoublePrecision()]),
        MisconfigurationException,
        "two of a kind",
    ),
    "two files": (
        dict(plugins=[TorchCheckpointIO(), TorchCheckpointIO()]),
        MisconfigurationException,
        "two of a kind",
    ),
    "a number as plugin": (dict(plugins=[3]), MisconfigurationException, "`plugins=3`"),
    "a strategy's name as plugin": (dict(plugins="ddp"), MisconfigurationException, "`strategy=`"),
    "a strategy as plugin": (
        dict(plugins=[SingleDeviceStrategy()]),
        MisconfigurationException,
        "`strategy=`",
    ),
    "an accelerator as plugin": (
        dict(plugins=[CPUAccelerator()]),
        MisconfigurationException,
        "`accelerator=`",
    ),
    "precision in the strategy too": (
        dict(strategy=SingleDeviceStrategy(precision_plugin=Precision()), precision=64),
        MisconfigurationException,
        "chosen twice",
    ),
    "accelerator in the strategy too": (
        dict(strategy=SingleDeviceStrategy(accelerator=CPUAccelerator()), accelerator="cpu"),
        MisconfigurationException,
        "chosen twice",
    ),
    "files in the strategy too": (
        dict(
            strategy=SingleDeviceStrategy(checkpoint_io=TorchCheckpointIO()),
            plugins=[TorchCheckpointIO()],
        ),
        MisconfigurationException,
        "chosen twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_refused_with_a_cure(case):
    arguments, error, words = REFUSED[case]
    with pytest.raises(error, match=words):
        resolve(**arguments)


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS"])
def test_a_launch_of_several_processes_is_refused_not_run_twice(monkeypatch, name):
    monkeypatch.setenv(name, "2")
    with pytest.raises(MisconfigurationException, match=f"`{name}=2`"):
        resolve()
