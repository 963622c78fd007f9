"""What DDP is asked for: names, arguments, what cannot work."""

import pytest
import torch
from torch import nn

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
