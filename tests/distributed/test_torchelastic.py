import pytest
import torch.distributed as dist
from tests.distributed.ranks import run_ranks
from tests.small_runs import Small

import pytorch_lightning as pl
from pytorch_lightning.distributed.detect import detect_environment
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "RANK": "5",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "2",
    "WORLD_SIZE": "6",
    "LOCAL_WORLD_SIZE": "2",
}


def test_variables_are_read(launched):
    launched(**TORCHRUN)
    environment = TorchElasticEnvironment()
    assert TorchElasticEnvironment.detect()
    assert type(detect_environment()) is TorchElasticEnvironment
    assert environment.creates_processes_externally
    assert (environment.main_address, environment.main_port) == ("10.0.0.1", 29500)
    assert (environment.world_size(), environment.global_rank()) == (6, 5)
    assert (environment.local_rank(), environment.node_rank()) == (1, 2)


def test_the_rank_cannot_be_set_and_moves_what_is_said_once(launched):
    launched(**TORCHRUN)
    environment = TorchElasticEnvironment()
    environment.set_global_rank(0)
    environment.set_world_size(1)
    assert rank_zero_only.rank == environment.global_rank() == 5
    assert environment.world_size() == 6


def test_without_its_variable_it_is_not_torchrun(launched):
    launched(RANK="1", WORLD_SIZE="2", LOCAL_RANK="1")
    assert not TorchElasticEnvironment.detect()


def test_a_missing_address_is_assumed_and_said(launched):
    launched(TORCHELASTIC_RUN_ID="none")
    environment = TorchElasticEnvironment()
    with pytest.warns(UserWarning, match="`MASTER_ADDR` is not set"):
        assert environment.main_address == "127.0.0.1"
    with pytest.warns(UserWarning, match="`MASTER_PORT` is not set"):
        assert environment.main_port == 12910


@pytest.mark.parametrize(("devices", "nodes"), [(2, 3)])
def test_what_was_started_is_accepted(launched, devices, nodes):
    launched(**TORCHRUN)
    TorchElasticEnvironment().validate_settings(num_devices=devices, num_nodes=nodes)


@pytest.mark.parametrize(
    ("devices", "nodes", "said"),
    [
        (4, 1, "`devices=4` and `num_nodes=1` ask for 4 processes, but torchrun started 6 .WORLD"),
        (1, 1, "ask for 1 process, but torchrun started 6 .* `plugins=LightningEnvironment"),
        (3, 2, r"asks for 3 on each machine, but torchrun started 2 here \(LOCAL_WORLD_SIZE=2\)"),
    ],
)  # fmt: skip
def test_another_number_names_both(launched, devices, nodes, said):
    launched(**TORCHRUN)
    with pytest.raises(ValueError, match=said):
        TorchElasticEnvironment().validate_settings(devices, nodes)


def _train_then_test_alone():
    options = {
        **{"accelerator": "cpu", "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
    }
    with pytest.raises(ValueError, match="ask for 1 process, but torchrun started 2"):
        pl.Trainer(devices=1, **options)
    pl.Trainer(devices=1, plugins=LightningEnvironment(), **options)
    module = Small()
    trainer = pl.Trainer(devices=2, strategy="ddp", max_steps=1, limit_val_batches=0, **options)
    trainer.fit(module)
    if dist.is_initialized():
        dist.destroy_process_group()
    if trainer.global_rank == 0:
        return pl.Trainer(devices=1, **options).test(module, verbose=False)
    return None


def test_one_of_several_may_test_alone_after_the_training():
    (found,), nothing = run_ranks(_train_then_test_alone, 2)
    assert set(found) == {"test_loss"}
    assert nothing is None
