"""Hooks of the exchange, and weights that are averaged now and then."""

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 3)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Sharded(Net):
    """The state of its optimizer is spread over the processes."""

    def configure_optimizers(self):
        from torch.distributed.optim import ZeroRedundancyOptimizer

        return ZeroRedundancyOptimizer(self.parameters(), torch.optim.Adam, lr=0.1)

    def on_save_checkpoint(self, checkpoint):
        self.saved = len(checkpoint["optimizer_states"][0]["state"])


class Apart(pl.Callback):
    """Notes after which steps the ranks have the same weights."""

    def __init__(self):
        self.alike = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        weights = trainer.strategy.gather_objects(module.layer.weight.tolist())
        self.alike.append(weights[0] == weights[1])


def fit(world, steps=6, make=Net, **ddp):
    strategy = DDPStrategy(**ddp)
    apart, module = Apart(), make()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=world,
        strategy=strategy,
        max_steps=steps,
        callbacks=[apart],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    torch.manual_seed(trainer.global_rank + 1)
    trainer.fit(module, list(torch.randn(steps, 8, 4)))
    return module, apart, trainer


def with_hooks(world):
    from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
    from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import (
        PostLocalSGDState,
        post_localSGD_hook,
    )

    found = {"plain": fit(world)[0].layer.weight.tolist()}
    for name, options in {
        "fp16": {"ddp_comm_hook": default_hooks.fp16_compress_hook},
        "wrapped": {
            "ddp_comm_hook": default_hooks.allreduce_hook,
            "ddp_comm_wrapper": default_hooks.fp16_compress_wrapper,
        },
        "power": {
            "ddp_comm_state": powerSGD_hook.PowerSGDState(None, start_powerSGD_iter=2),
            "ddp_comm_hook": powerSGD_hook.powerSGD_hook,
        },
    }.items():
        module, apart, _ = fit(world, **options)
        found[name] = (module.layer.weight.tolist(), all(apart.alike))
    alone, _ = torch.distributed.new_subgroups(group_size=1)
    state = PostLocalSGDState(
        None, alone, start_localSGD_iter=2, post_local_gradient_allreduce=False
    )
    module, apart, trainer = fit(
        world,
        ddp_comm_state=state,
        ddp_comm_hook=post_localSGD_hook,
        model_averaging_period=2,
    )
    found["local"] = apart.alike
    found["left"] = len(trainer.optimizers[0]._optimizer_step_post_hooks)
    try:
        fit(world, ddp_comm_hook=default_hooks.bf16_compress_hook)
    except pl.utilities.exceptions.MisconfigurationException as error:
        found["bf16"] = str(error)
    module, apart, trainer = fit(world, make=Sharded)
    trainer.strategy.connect(module)
    state = trainer.strategy.optimizer_state(trainer.optimizers[0])
    found["sharded"] = (all(apart.alike), len(state.get("state", ())))
    return found


@pytest.fixture(scope="module")
def hooked():
    return run_ranks(with_hooks, 2, 2)


@pytest.mark.parametrize("name", ["fp16", "wrapped", "power"])
def test_a_hook_exchanges_the_gradients(name, hooked):
    first, second = hooked
    assert first[name] == second[name]
    weights, alike = first[name]
    assert alike
    assert weights != first["plain"]  # it was used
    close = torch.tensor(weights) - torch.tensor(first["plain"])
    assert close.abs().max() < 0.05


def test_weights_are_averaged_every_few_steps(hooked):
    for found in hooked:
        alike = found["local"]
        assert alike[:2] == [True, True]  # all together first
        assert True in alike[2:] and False in alike[2:]
        assert found["left"] == 0


def test_a_hook_that_cannot_work_here_is_a_sentence(hooked):
    for found in hooked:
        assert "bf16_compress_hook" in found["bf16"]
        assert "fp16_compress_hook" in found["bf16"]


def test_the_state_of_a_spread_optimizer_is_gathered_on_rank_zero(hooked):
    first, second = hooked
    assert first["sharded"] == (True, 2)
    assert second["sharded"] == (True, 0)
