"""What DDP is asked for: names, arguments, what cannot work."""

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy, ParallelStrategy, StrategyRegistry
from pytorch_lightning.utilities.exceptions import MisconfigurationException

STARTS = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}


@pytest.mark.parametrize("name", STARTS)
def test_a_name_says_how_processes_are_started(name):
    assert StrategyRegistry.get(name).start_method == STARTS[name]
    assert isinstance(StrategyRegistry.get(name), DDPStrategy)


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("flag", [True, False])
def test_a_name_says_whether_to_look_for_unused_parameters(name, flag):
    full = f"{name}_find_unused_parameters_{str(flag).lower()}"
    assert StrategyRegistry.get(full).start_method == STARTS[name]
    assert StrategyRegistry[full].init_params["find_unused_parameters"] is flag


def test_the_devices_of_the_wrapper():
    assert DDPStrategy().determine_ddp_device_ids() is None
    gpus = [torch.device("cuda", 3)]
    assert DDPStrategy(parallel_devices=gpus).determine_ddp_device_ids() == [3]


def test_it_is_a_parallel_strategy_that_says_what_a_sampler_needs():
    strategy = DDPStrategy(parallel_devices=[torch.device("cpu")] * 2)
    strategy.tell_ranks()
    assert isinstance(strategy, ParallelStrategy) and strategy.is_distributed
    assert strategy.distributed_sampler_kwargs == {"num_replicas": 2, "rank": 0}
    assert (strategy.num_processes, strategy.num_nodes) == (2, 1)
    assert strategy.backend == strategy.process_group_backend == "gloo"
    assert DDPStrategy(process_group_backend="nccl").backend == "nccl"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"start_method": "thread"}, ValueError, "'popen', 'spawn', 'fork', 'forkserver'"),
        ({"mixed_precision": object()}, MisconfigurationException, "precision=..."),
        ({"model_averaging_period": 2}, ValueError, "PostLocalSGDState"),
        ({"ddp_comm_state": object()}, ValueError, "ddp_comm_hook="),
        ({"ddp_comm_wrapper": print}, ValueError, "ddp_comm_hook="),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(options, error, text):
    with pytest.raises(error, match=text):
        DDPStrategy(**options)


def test_nothing_to_train_needs_no_wrapper():
    module = nn.Linear(2, 2).requires_grad_(False)
    assert DDPStrategy().setup_module(module) is module


def test_the_spellings_of_1x():
    from pytorch_lightning.plugins import DDPPlugin, DDPSpawnPlugin
    from pytorch_lightning.strategies import DDPSpawnStrategy
    from pytorch_lightning.strategies.ddp_spawn import DDPSpawnStrategy as InItsOldModule

    assert DDPPlugin is DDPStrategy and DDPSpawnPlugin is DDPSpawnStrategy is InItsOldModule
    assert DDPSpawnStrategy(find_unused_parameters=True).start_method == "spawn"
    assert DDPSpawnStrategy(start_method="fork").start_method == "fork"


DOCUMENTED = """
accelerator all_gather backward barrier batch_to_device block_backward_sync broadcast
checkpoint_io connect global_rank handles_gradient_accumulation is_distributed is_global_zero
launcher lightning_module lightning_module_state_dict lightning_restore_optimizer load_checkpoint
load_model_state_dict load_optimizer_state_dict local_rank model model_sharded_context
model_to_device module_to_device node_rank num_nodes num_processes on_exception on_predict_end
on_predict_start on_test_end on_test_start on_train_batch_start on_train_end on_train_start
on_validation_end on_validation_start optimizer_state optimizer_step optimizers parallel_devices
post_backward post_training_step pre_backward precision_plugin predict_step process_dataloader
process_group_backend reduce reduce_boolean_decision register_strategies remove_checkpoint
restore_checkpoint_after_setup root_device save_checkpoint set_world_ranks setup setup_distributed
setup_environment setup_optimizers setup_precision_plugin teardown tensor_init_context test_step
training_step validation_step world_size configure_ddp determine_ddp_device_ids
distributed_sampler_kwargs cluster_environment"""


def test_it_has_every_documented_member():
    strategy = DDPStrategy()
    assert [name for name in DOCUMENTED.split() if not hasattr(strategy, name)] == []


class Noting(DDPStrategy):
    """Overrides what a third party may, and notes who was asked."""

    def __init__(self):
        super().__init__()
        self.asked = []


for _name in (
    *("set_world_ranks", "setup_distributed", "setup_environment", "setup", "setup_optimizers"),
    *("model_to_device", "configure_ddp", "determine_ddp_device_ids", "setup_precision_plugin"),
    *("on_train_start", "on_train_batch_start", "training_step", "pre_backward", "backward"),
    *("post_backward", "optimizer_step", "block_backward_sync", "on_train_end", "teardown"),
):

    def _override(self, *args, _name=_name, **kwargs):
        self.asked.append(_name)
        return getattr(DDPStrategy, _name)(self, *args, **kwargs)

    setattr(Noting, _name, _override)


def asked():
    from pytorch_lightning.demos.boring_classes import BoringModel

    strategy = Noting()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        strategy=strategy,
        max_steps=1,
        accumulate_grad_batches=2,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    strategy.asked.clear()
    trainer.fit(BoringModel())
    return list(dict.fromkeys(strategy.asked))


def test_what_a_subclass_overrides_is_used():
    (found,) = run_ranks(asked, 1)
    assert found == [
        *("setup_environment", "setup_distributed", "set_world_ranks", "setup", "model_to_device"),
        *("setup_optimizers", "setup_precision_plugin", "configure_ddp"),
        *("determine_ddp_device_ids", "on_train_start", "on_train_batch_start"),
        *("block_backward_sync", "training_step", "backward", "pre_backward", "post_backward"),
        *("optimizer_step", "on_train_end", "teardown"),
    ]
