"""Fabric's verbs in several processes."""

import os
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.fabric import Fabric


def rank():
    return int(os.environ["RANK"])


def _fabric(**options):
    fabric = Fabric(accelerator="cpu", devices=int(os.environ["WORLD_SIZE"]), **options)
    fabric.launch()
    return fabric


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(24, 4, generator=generator, dtype=torch.float64)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=3, shuffle=True)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def weights_of(module):
    return [parameter.detach().tolist() for parameter in module.parameters()]


class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layers = network()

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self.layers(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _with_fabric(strategy):
    fabric = _fabric(strategy=strategy)
    module = Module()
    module, optimizer = fabric.setup(module, module.configure_optimizers())
    loader = fabric.setup_dataloaders(data())
    for _ in range(2):
        for index, batch in enumerate(loader):
            loss = module.training_step(batch, index)
            fabric.backward(loss)
            fabric.clip_gradients(module, optimizer, max_norm=0.5)
            optimizer.step()
            optimizer.zero_grad()
    return weights_of(module.module)


def _with_trainer(strategy):
    module = Module()
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        max_epochs=2,
        gradient_clip_val=0.5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data())
    return weights_of(module)


def _both(strategy):
    return _with_fabric(strategy), _with_trainer(strategy)


def test_a_loop_by_hand_gives_the_weights_of_fit():
    (fabric, trainer), (fabric_1, trainer_1) = run_ranks(_both, 2, "ddp")
    assert fabric == trainer
    assert fabric == fabric_1 and trainer == trainer_1


def _collectives():
    fabric = _fabric(strategy="ddp")
    own = torch.tensor([float(rank())])
    gathered = fabric.all_gather({"a": own, "b": rank()})
    reduced = fabric.all_reduce({"sum": own.clone()}, reduce_op="sum"), fabric.all_reduce(own)
    said = fabric.broadcast(f"from {rank()}", src=1)
    order = Path("order.txt")
    with fabric.rank_zero_first():
        first = rank() == 0 or order.exists()
        order.touch()
    fabric.barrier()
    return {
        "gathered": [gathered["a"].tolist(), gathered["b"].tolist()],
        "reduced": [reduced[0]["sum"].item(), reduced[1].item()],
        "said": said,
        "first": first,
        "who": [fabric.global_rank, fabric.local_rank, fabric.world_size, fabric.is_global_zero],
    }


def test_collectives(tmp_path):
    found = run_ranks(_collectives, 2)
    for index, one in enumerate(found):
        assert one["gathered"] == [[[0.0], [1.0]], [0, 1]]
        assert one["reduced"] == [1.0, 0.5]
        assert one["said"] == "from 1"
        assert one["first"]
        assert one["who"] == [index, index, 2, index == 0]


def _accumulates():
    fabric = _fabric(strategy="ddp")
    module = network()
    module, optimizer = fabric.setup(module, torch.optim.SGD(module.parameters(), lr=0.1))
    x = torch.full((2, 4), 1.0 + rank(), dtype=torch.float64)
    with fabric.no_backward_sync(module):
        fabric.backward(module(x).mean())
    apart = module.module[0].weight.grad.clone()
    fabric.backward(module(x).mean())
    return apart.tolist(), module.module[0].weight.grad.tolist()


def test_gradients_stay_apart_until_the_last_backward():
    (apart_0, together_0), (apart_1, together_1) = run_ranks(_accumulates, 2)
    assert apart_0 != apart_1
    assert together_0 == together_1


def _saves(folder):
    fabric = _fabric(strategy="ddp")
    module = network()
    module, optimizer = fabric.setup(module, torch.optim.Adam(module.parameters()))
    fabric.backward(module(torch.ones(2, 4, dtype=torch.float64)).mean())
    optimizer.step()
    state = {"module": module, "optimizer": optimizer, "step": 1}
    fabric.save(Path(folder, "x.ckpt"), state)
    saved = weights_of(module)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    rest = fabric.load(Path(folder, "x.ckpt"), state)
    return saved == weights_of(module), state["step"], rest, sorted(os.listdir(folder))


def test_one_process_writes_and_all_read(tmp_path):
    for same, step, rest, files in run_ranks(_saves, 2, str(tmp_path)):
        assert same and step == 1 and rest == {} and files == ["x.ckpt"]


def _before_launch():
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
    with pytest.raises(RuntimeError, match="launch"):
        fabric.setup(network())
    with pytest.raises(RuntimeError, match="launch"):
        fabric.setup_dataloaders(data())
    return True


def test_verbs_before_launch_say_so():
    assert run_ranks(_before_launch, 2) == [True, True]


def _in_worker(fabric, start):
    value = torch.tensor(float(start + fabric.global_rank))
    return fabric.all_reduce(value, reduce_op="sum").item()


def test_launch_starts_processes_and_brings_the_result_home():
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    assert fabric.launch(_in_worker, 10) == 21.0
    assert fabric.launch(_in_worker, 20) == 41.0


def test_a_launch_that_starts_processes_needs_a_function():
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    with pytest.raises(TypeError, match=r"fabric\.launch\(train\)"):
        fabric.launch()
