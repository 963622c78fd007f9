import pytest
import torch

from pytorch_lightning.accelerators import CPUAccelerator, CUDAAccelerator, MPSAccelerator
from pytorch_lightning.checkpoint.io import TorchCheckpointIO
from pytorch_lightning.distributed import LightningEnvironment
from pytorch_lightning.distributed.torchelastic import TorchElasticEnvironment
from pytorch_lightning.fabric.resolve import resolve
from pytorch_lightning.plugins import LayerSync, TorchSyncBatchNorm
from pytorch_lightning.precision import (
    DoublePrecision,
    HalfPrecision,
    MixedPrecision,
    Precision,
)
from pytorch_lightning.precision.names import canonical_precision
from pytorch_lightning.strategies import (
    DDPStrategy,
    SingleDeviceStrategy,
    StrategyRegistry,
)
from pytorch_lightning.utilities.exceptions import MisconfigurationException


@pytest.fixture(autouse=True)
def not_launched(monkeypatch):
    for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    show(monkeypatch, gpus=0, mps=False)


def show(monkeypatch, *, gpus=0, mps=False):
    """Let torch count devices that are not there; nothing touches them before a run."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def under_torchrun(monkeypatch, *, rank=0, local=2, world=2):
    for name, value in {
        "TORCHELASTIC_RUN_ID": "job",
        "RANK": rank,
        "LOCAL_RANK": rank % local,
        "GROUP_RANK": rank // local,
        "WORLD_SIZE": world,
        "LOCAL_WORLD_SIZE": local,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 29500,
    }.items():
        monkeypatch.setenv(name, str(value))


def in_a_notebook(monkeypatch):
    monkeypatch.setattr("sys.ps1", ">>> ", raising=False)


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


# --- several devices and processes ---------------------------------------------------------------


@pytest.mark.parametrize("devices", [3, "3", " 3 "])
def test_several_processes_of_the_cpu(devices):
    parts = resolve(accelerator="cpu", devices=devices)
    assert type(parts.strategy) is DDPStrategy
    assert parts.devices == (torch.device("cpu"),) * 3
    assert (parts.num_devices, parts.strategy.world_size) == (3, 3)


def test_several_nodes_are_counted_in():
    parts = resolve(devices=2, num_nodes=3)
    assert type(parts.strategy) is DDPStrategy
    assert (parts.num_devices, parts.num_nodes, parts.strategy.world_size) == (2, 3, 6)
    assert resolve(num_nodes=2).strategy.world_size == 2


def test_a_strategy_for_several_works_with_one():
    parts = resolve(strategy="ddp", devices=1)
    assert type(parts.strategy) is DDPStrategy
    assert (parts.num_devices, parts.strategy.world_size) == (1, 1)


def test_auto_takes_the_number_that_was_launched(monkeypatch):
    under_torchrun(monkeypatch, rank=1)
    parts = resolve()
    assert type(parts.environment) is TorchElasticEnvironment
    assert type(parts.strategy) is DDPStrategy
    assert (parts.num_devices, parts.strategy.world_size, parts.strategy.global_rank) == (2, 2, 1)


def test_auto_takes_the_number_of_this_machine(monkeypatch):
    under_torchrun(monkeypatch, rank=3, local=2, world=4)
    parts = resolve(num_nodes=2)
    assert (parts.num_devices, parts.strategy.world_size) == (2, 4)
    assert (parts.strategy.local_rank, parts.strategy.node_rank) == (1, 1)


def test_auto_takes_the_number_that_slurm_started(monkeypatch):
    for name, value in {
        "SLURM_NTASKS": 6,
        "SLURM_NTASKS_PER_NODE": 3,
        "SLURM_NNODES": 2,
        "SLURM_PROCID": 4,
        "SLURM_LOCALID": 1,
        "SLURM_NODEID": 1,
        "SLURM_JOB_ID": 77,
        "SLURM_JOB_NAME": "train",
        "SLURM_NODELIST": "a[1-2]",
    }.items():
        monkeypatch.setenv(name, str(value))
    parts = resolve(num_nodes=2)
    assert (parts.num_devices, parts.strategy.world_size) == (3, 6)
    assert (parts.strategy.global_rank, parts.strategy.local_rank) == (4, 1)
    with pytest.raises((MisconfigurationException, ValueError), match="2"):
        resolve(devices=2, num_nodes=2)


@pytest.mark.parametrize(("launched", "seen", "used"), [(2, 8, 2), (1, 8, 1)])
def test_auto_takes_as_many_gpus_as_were_launched(monkeypatch, launched, seen, used):
    under_torchrun(monkeypatch, local=launched, world=launched)
    show(monkeypatch, gpus=seen)
    assert resolve().num_devices == used


def test_devices_inside_the_strategy_are_kept():
    strategy = DDPStrategy(parallel_devices=[torch.device("cpu")] * 2)
    parts = resolve(strategy=strategy)
    assert (parts.num_devices, parts.strategy.world_size) == (2, 2)
    assert type(parts.accelerator) is CPUAccelerator
    assert resolve(strategy=strategy, devices=2).num_devices == 2


def test_an_environment_inside_the_strategy_is_kept():
    mine = LightningEnvironment()
    parts = resolve(strategy=DDPStrategy(cluster_environment=mine), devices=2)
    assert parts.environment is parts.strategy.cluster_environment is mine


def test_a_strategy_object_takes_other_devices_the_next_time():
    strategy = DDPStrategy()
    assert resolve(strategy=strategy, devices=2).strategy.world_size == 2
    assert resolve(strategy=strategy, devices=3).strategy.world_size == 3


def test_batch_norm_is_synchronized_when_asked_for():
    assert resolve(devices=2).strategy.layer_sync is None
    assert type(resolve(devices=2, sync_batchnorm=True).strategy.layer_sync) is TorchSyncBatchNorm

    class Mine(LayerSync):
        def apply(self, model):
            return model

        def revert(self, model):
            return model

    mine = Mine()
    assert resolve(devices=2, plugins=[mine]).strategy.layer_sync is mine
    assert resolve(devices=2, plugins=mine, sync_batchnorm=True).strategy.layer_sync is mine


# --- GPUs, as far as can be told without one ----------------------------------------------------


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cuda", None])
def test_auto_and_gpu_are_cuda_where_it_is(monkeypatch, accelerator):
    show(monkeypatch, gpus=1)
    parts = resolve(accelerator=accelerator)
    assert type(parts.accelerator) is CUDAAccelerator
    assert type(parts.strategy) is SingleDeviceStrategy
    assert parts.strategy.root_device == torch.device("cuda", 0)


@pytest.mark.parametrize("accelerator", ["auto", "gpu", "mps"])
def test_auto_and_gpu_are_mps_on_a_mac(monkeypatch, accelerator):
    show(monkeypatch, mps=True)
    parts = resolve(accelerator=accelerator)
    assert type(parts.accelerator) is MPSAccelerator
    assert parts.devices == (torch.device("mps", 0),)


@pytest.mark.parametrize(
    ("devices", "indices"),
    [
        ("auto", [0, 1, 2]),
        (None, [0, 1, 2]),
        (-1, [0, 1, 2]),
        ("-1", [0, 1, 2]),
        (2, [0, 1]),
        ("2", [0, 1]),
        ([2], [2]),
        ([0, 2], [0, 2]),
        ("0,2", [0, 2]),
        ("1,", [1]),
    ],
)
def test_spellings_of_several_gpus(monkeypatch, devices, indices):
    show(monkeypatch, gpus=3)
    parts = resolve(accelerator="gpu", devices=devices)
    assert list(parts.devices) == [torch.device("cuda", index) for index in indices]
    assert parts.strategy.world_size == len(indices)


def test_each_process_has_its_gpu(monkeypatch):
    under_torchrun(monkeypatch, rank=1)
    show(monkeypatch, gpus=3)
    assert resolve(devices=[0, 2]).strategy.root_device == torch.device("cuda", 2)


def test_the_cpu_beside_a_gpu_is_used_with_a_hint(monkeypatch, caplog):
    show(monkeypatch, gpus=1)
    with caplog.at_level("INFO"):
        assert type(resolve(accelerator="cpu").accelerator) is CPUAccelerator
    assert "has a GPU, which stays idle" in caplog.text


def test_a_strategy_object_says_which_kind_of_device(monkeypatch):
    show(monkeypatch, gpus=2)
    parts = resolve(strategy=SingleDeviceStrategy(device=torch.device("cuda", 1)))
    assert type(parts.accelerator) is CUDAAccelerator
    assert parts.devices == (torch.device("cuda", 1),)
    assert type(resolve(strategy=SingleDeviceStrategy("cpu")).accelerator) is CPUAccelerator


def test_mixed_precision_is_for_the_device(monkeypatch):
    show(monkeypatch, gpus=1)
    precision = resolve(precision="bf16-mixed").precision
    assert (precision.device, precision.precision) == ("cuda", "bf16-mixed")


# --- notebooks -----------------------------------------------------------------------------------


def test_a_notebook_uses_one_gpu_unless_asked(monkeypatch):
    in_a_notebook(monkeypatch)
    show(monkeypatch, gpus=4)
    assert resolve().num_devices == 1
    assert resolve(devices=-1).num_devices == 4


@pytest.mark.parametrize("strategy", ["auto", "ddp_fork", "ddp_notebook"])
def test_a_notebook_forks(monkeypatch, strategy):
    in_a_notebook(monkeypatch)
    parts = resolve(strategy=strategy, devices=2)
    assert parts.strategy.start_method == "fork"
    assert parts.strategy.launcher.is_interactive_compatible


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_find_unused_parameters_true"])
def test_a_notebook_cannot_start_scripts(monkeypatch, strategy):
    in_a_notebook(monkeypatch)
    with pytest.raises(MisconfigurationException, match="notebook"):
        resolve(strategy=strategy, devices=2)


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
    "ddp_sharded with unused": (
        dict(strategy="ddp_sharded_find_unused_parameters_false"),
        ValueError,
        "'fsdp'",
    ),
    "colossalai": (dict(strategy="colossalai"), ValueError, "'fsdp'"),
    "tpu_spawn": (dict(strategy="tpu_spawn"), ValueError, "'xla'"),
    "hpu_parallel": (dict(strategy="hpu_parallel"), ValueError, "was removed"),
    "one device for two": (
        dict(strategy="single_device", devices=2),
        MisconfigurationException,
        "`devices` asks for 2",
    ),
    "one device on two nodes": (
        dict(strategy="single_device", num_nodes=2),
        MisconfigurationException,
        "`num_nodes=2`",
    ),
    "one device object for two": (
        dict(strategy=SingleDeviceStrategy(), devices=2),
        MisconfigurationException,
        "made with 1",
    ),
    "other devices than the strategy's": (
        dict(strategy=DDPStrategy(parallel_devices=[torch.device("cpu")] * 2), devices=3),
        MisconfigurationException,
        "asks for 3 .* made with 2",
    ),
    "no device": (dict(devices=0), MisconfigurationException, "`devices=0`"),
    "no device in a string": (dict(devices="0"), MisconfigurationException, "`devices='0'`"),
    "no device in a list": (dict(devices=[]), MisconfigurationException, r"`devices=\[\]`"),
    "a truth as devices": (dict(devices=True), MisconfigurationException, "`devices=True`"),
    "a list on the cpu": (dict(devices=[0]), TypeError, r"`devices=\[0\]`"),
    "a negative number": (dict(devices=-2), TypeError, "`devices=-2`"),
    "no number": (dict(devices="two"), TypeError, "`devices='two'`"),
    "no node": (dict(num_nodes=0), ValueError, "`num_nodes=0`"),
    "a string as nodes": (dict(num_nodes="1"), ValueError, "`num_nodes='1'`"),
    "unknown precision": (dict(precision="32-tru"), ValueError, "Did you mean '32-true'"),
    "precision in capitals": (dict(precision="BF16-mixed"), ValueError, "'bf16-mixed'"),
    "8 bits": (dict(precision=8), ValueError, "`precision=8`"),
    "a float as precision": (dict(precision=32.0), ValueError, "`precision=32.0`"),
    "transformer engine": (
        dict(precision="transformer-engine"),
        MisconfigurationException,
        "'cuda'",
    ),
    "mixed precision of another device": (
        dict(plugins=MixedPrecision("bf16-mixed", device="cuda")),
        MisconfigurationException,
        "MixedPrecision is for 'cuda'",
    ),
    "that in the strategy": (
        dict(strategy=SingleDeviceStrategy(precision_plugin=MixedPrecision("bf16-mixed", "cuda"))),
        MisconfigurationException,
        "MixedPrecision is for 'cuda'",
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
    "two environments": (
        dict(plugins=[LightningEnvironment(), LightningEnvironment()]),
        MisconfigurationException,
        "two of a kind",
    ),
    "two kinds of batch norm": (
        dict(plugins=[TorchSyncBatchNorm(), TorchSyncBatchNorm()]),
        MisconfigurationException,
        "two of a kind",
    ),
    "environment in the strategy too": (
        dict(
            strategy=DDPStrategy(cluster_environment=LightningEnvironment()),
            plugins=LightningEnvironment(),
        ),
        MisconfigurationException,
        "chosen twice",
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


GPUS_REFUSED = {
    "more than there are": (dict(devices=3), MisconfigurationException, "this machine has 2 GPUs"),
    "more in a string": (dict(devices="3"), MisconfigurationException, "Pass 1 or 2"),
    "an index that is not": (dict(devices=[0, 2]), MisconfigurationException, "no GPU 2"),
    "one twice": (dict(devices=[1, 1]), MisconfigurationException, "each GPU once"),
    "a negative number": (dict(devices=-3), TypeError, "`devices=-3`"),
    "a negative index": (dict(devices=[-1]), TypeError, r"`devices=\[-1\]`"),
    "a word": (dict(devices="both"), TypeError, "`devices='both'`"),
    "words in a list": (dict(devices=["0"]), TypeError, r"`devices=\['0'\]`"),
    "one device for two": (dict(strategy="single_device"), MisconfigurationException, "one device"),
    "a cpu strategy on gpus": (
        dict(strategy=DDPStrategy(accelerator=CPUAccelerator()), accelerator="gpu"),
        MisconfigurationException,
        "chosen twice",
    ),
    "mixed precision of the cpu": (
        dict(plugins=MixedPrecision("bf16-mixed", "cpu")),
        MisconfigurationException,
        "MixedPrecision is for 'cpu'",
    ),
    "the engine is not installed": (
        dict(precision="transformer-engine", devices=1),
        ModuleNotFoundError,
        "transformer_engine",
    ),
}


@pytest.mark.parametrize("case", GPUS_REFUSED)
def test_what_cannot_work_on_two_gpus_is_refused_with_a_cure(monkeypatch, case):
    show(monkeypatch, gpus=2)
    arguments, error, words = GPUS_REFUSED[case]
    with pytest.raises(error, match=words):
        resolve(**arguments)


MPS_REFUSED = {
    "two": (dict(devices=2), MisconfigurationException, "has 1 MPS device"),
    "the second": (dict(devices=[1]), MisconfigurationException, "no MPS device 1"),
    "ddp": (dict(strategy="ddp"), MisconfigurationException, "'mps'"),
    "two nodes": (dict(num_nodes=2), MisconfigurationException, "'mps'"),
    "64 bits": (dict(precision="64-true"), MisconfigurationException, "no 64 bits"),
}


@pytest.mark.parametrize("case", MPS_REFUSED)
def test_what_cannot_work_on_a_mac_is_refused_with_a_cure(monkeypatch, case):
    show(monkeypatch, mps=True)
    arguments, error, words = MPS_REFUSED[case]
    with pytest.raises(error, match=words):
        resolve(**arguments)


@pytest.mark.parametrize("kind", ["gpu", "cuda", "mps"])
def test_a_kind_that_is_not_there_names_what_is(kind):
    with pytest.raises(MisconfigurationException, match="Available: 'cpu', 'auto'"):
        resolve(accelerator=kind)


LAUNCHED_REFUSED = {
    "one": (dict(devices=1), "2"),
    "one by name": (dict(strategy="single_device", devices=1), "2"),
    "more": (dict(devices=3), "3"),
    "more nodes": (dict(num_nodes=2), "2"),
    "spawn": (dict(strategy="ddp_spawn"), "start_method='spawn'"),
    "fork": (dict(strategy="ddp_fork"), "start_method='fork'"),
}


@pytest.mark.parametrize("case", LAUNCHED_REFUSED)
def test_what_was_asked_has_to_be_what_was_launched(monkeypatch, case):
    under_torchrun(monkeypatch)
    arguments, words = LAUNCHED_REFUSED[case]
    with pytest.raises((MisconfigurationException, ValueError), match=words):
        resolve(**arguments)


def test_a_strategy_says_on_which_kinds_it_works():
    class OnTPU(SingleDeviceStrategy):
        accelerators = ("tpu",)

    with pytest.raises(MisconfigurationException, match="OnTPU.* works with accelerator='tpu'"):
        resolve(strategy=OnTPU())


def test_every_registered_strategy_can_be_made_or_says_what_is_missing():
    for name in StrategyRegistry.available_strategies():
        try:
            parts = resolve(strategy=name, devices=1)
        except (MisconfigurationException, ModuleNotFoundError) as error:
            assert not name.startswith(("ddp", "single_device", "fsdp")), error
        else:
            assert parts.num_devices == 1


def test_a_launch_of_several_processes_is_refused_not_run_twice(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="`WORLD_SIZE=2`"):
        resolve()
