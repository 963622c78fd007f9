"""What needs a GPU; where the same can be shown on the CPU, it is, by the same code."""

import os

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pytorch_lightning as pl
from pytorch_lightning.fabric import Fabric

GPU = pytest.param("cuda", marks=pytest.mark.gpu)
QUIET = dict(
    devices=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 8, generator=generator)
    return TensorDataset(x, x.sum(1, keepdim=True))


class Regression(pl.LightningModule):
    def __init__(self, log=False):
        super().__init__()
        self.layers = network()
        self.log_steps = log

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.layers(x), y)
        if self.log_steps:
            self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


def by_hand(device, precision):
    layers = network().to(device)
    optimizer = torch.optim.SGD(layers.parameters(), lr=0.05)
    dtype = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    scaler = torch.amp.GradScaler(device, enabled=precision == "16-mixed")
    for x, y in DataLoader(data(), batch_size=8):
        x, y = x.to(device), y.to(device)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            loss = nn.functional.mse_loss(layers(x), y)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    return [parameter.detach().cpu() for parameter in layers.parameters()]


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_weights_are_those_of_a_loop_by_hand(device, precision):
    module = Regression()
    trainer = pl.Trainer(accelerator=device, precision=precision, max_epochs=1, **QUIET)
    trainer.fit(module, DataLoader(data(), batch_size=8))
    for found, expected in zip(module.parameters(), by_hand(device, precision), strict=True):
        assert torch.equal(found.detach(), expected)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_true_precisions_train(device, precision):
    module = Regression()
    trainer = pl.Trainer(accelerator=device, precision=precision, max_epochs=1, **QUIET)
    trainer.fit(module, DataLoader(data(), batch_size=8))
    kind = {"bf16-true": torch.bfloat16, "16-true": torch.float16, "64-true": torch.float64}
    assert all(p.dtype == kind[precision] for p in module.parameters())
    assert all(torch.isfinite(p).all() for p in module.parameters())


class Strict(pl.Callback):
    """Raises where the host waits for the device, from the third batch to the last but one."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if batch_idx == 2:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 6:
            torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, trainer, module, exception):
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_no_step_waits_for_the_device(log, precision):
    trainer = pl.Trainer(
        accelerator="cuda", precision=precision, max_epochs=1, callbacks=[Strict()], **QUIET
    )
    loader = DataLoader(data(), batch_size=8, pin_memory=True)
    trainer.fit(Regression(log=log), loader)
    assert trainer.global_step == 8


def _one_rank(strategy, device):
    module = Regression()
    trainer = pl.Trainer(accelerator=device, strategy=strategy, max_epochs=1, **QUIET)
    trainer.fit(module, DataLoader(data(), batch_size=8))
    backend = torch.distributed.get_backend()
    whole = [getattr(p.detach(), "full_tensor", p.detach)() for p in module.parameters()]
    found = [parameter.tolist() for parameter in whole]  # a tensor would be gone with its process
    return backend, found


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_one_rank_of_a_strategy_for_several(device, strategy):
    backend, found = run_ranks(_one_rank, 1, strategy, device)[0]
    assert backend.endswith("nccl" if device == "cuda" else "gloo")
    for one, expected in zip(found, by_hand(device, "32-true"), strict=True):
        torch.testing.assert_close(torch.tensor(one), expected, rtol=1e-6, atol=1e-7)


def _offloads():
    module = Regression()
    trainer = pl.Trainer(accelerator="cuda", strategy="fsdp_cpu_offload", max_epochs=1, **QUIET)
    trainer.fit(module, DataLoader(data(), batch_size=8))
    return {p.device.type for p in module.parameters()}, trainer.global_step


@pytest.mark.gpu
def test_parameters_that_wait_on_the_cpu():
    assert run_ranks(_offloads, 1) == [({"cpu"}, 8)]


def _normalizes():
    module = Regression()
    module.layers.insert(1, nn.BatchNorm1d(16))
    trainer = pl.Trainer(
        accelerator="cuda", strategy="ddp", sync_batchnorm=True, max_epochs=1, **QUIET
    )
    trainer.fit(module, DataLoader(data(), batch_size=8))
    return type(module.layers[1]).__name__, trainer.global_step, os.environ["RANK"]


@pytest.mark.gpu
def test_synchronized_batch_norm_trains():
    assert run_ranks(_normalizes, 1) == [("BatchNorm1d", 8, "0")]


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_fabric_moves_and_trains(device):
    fabric = Fabric(accelerator=device, devices=1, precision="bf16-mixed")
    fabric.launch()
    layers = network()
    layers, optimizer = fabric.setup(layers, torch.optim.SGD(layers.parameters(), lr=0.05))
    for x, y in fabric.setup_dataloaders(DataLoader(data(), batch_size=8)):
        assert x.device.type == device
        optimizer.zero_grad()
        fabric.backward(nn.functional.mse_loss(layers(x), y))
        optimizer.step()
    for found, expected in zip(layers.parameters(), by_hand(device, "bf16-mixed"), strict=True):
        assert torch.equal(found.detach().cpu(), expected)


@pytest.mark.gpu
def test_a_run_goes_on_from_a_checkpoint_bit_by_bit(tmp_path):
    def fit(epochs, path=None):
        module = Regression()
        trainer = pl.Trainer(
            accelerator="cuda", precision="16-mixed", max_epochs=epochs, deterministic=True, **QUIET
        )
        trainer.fit(module, DataLoader(data(), batch_size=8, shuffle=True), ckpt_path=path)
        return module, trainer

    pl.seed_everything(3, verbose=False)
    whole, _ = fit(4)
    pl.seed_everything(3, verbose=False)
    _, trainer = fit(2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    pl.seed_everything(99, verbose=False)
    resumed, _ = fit(4, tmp_path / "two.ckpt")
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
