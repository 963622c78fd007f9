"""A loop of forty lines with Fabric gives the weights of `Trainer.fit`, and of torch alone."""

import os
import re
from pathlib import Path

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pytorch_lightning.fabric import Fabric
from pytorch_lightning.precision import MixedPrecision

PAGE = Path(__file__).parents[2] / "docs/fabric.md"
EPOCHS = 3


def programs():
    """The loop of the page, and the same with the `Trainer`."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[:2]


def _run_page(folder):
    os.chdir(folder)
    names = {"__name__": "__main__"}
    for code in programs():
        exec(compile(code, PAGE.name, "exec"), names)
    by_hand, trained = (
        [parameter.tolist() for parameter in names[name].parameters()]
        for name in ("network_by_hand", "trained")
    )
    return names["fabric"].world_size, by_hand, trained


def test_the_loop_of_the_page_has_forty_lines():
    by_hand, _ = programs()
    assert by_hand.count("\n") <= 40


@pytest.mark.parametrize("world", [1, 2])
def test_the_loop_of_the_page_gives_the_weights_of_fit(tmp_path, world):
    found = run_ranks(_run_page, world, str(tmp_path))
    for ranks, by_hand, trained in found:
        assert ranks == world
        assert by_hand == trained == found[0][1]


def _parts():
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4, shuffle=True)
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    return loader, module, torch.optim.AdamW(module.parameters(), lr=0.01)


def train_with_fabric(folder, hardware=None, *, stop_after=None, resume=False):
    fabric = Fabric(**(hardware or {}))
    fabric.launch()
    loader, module, optimizer = _parts()
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    module, optimizer = fabric.setup(module, optimizer)
    loader = fabric.setup_dataloaders(loader)
    state = {"module": module, "optimizer": optimizer, "scheduler": scheduler}
    state = {**state, "epoch": 0, "rng": torch.get_rng_state()}
    if resume:
        fabric.load(folder / "last.ckpt", state)
        torch.set_rng_state(state["rng"])
    for epoch in range(state["epoch"], EPOCHS):
        for index, (x, y) in enumerate(loader):
            is_accumulating = index % 2 == 0
            with fabric.no_backward_sync(module, enabled=is_accumulating):
                loss = nn.functional.mse_loss(module(x), y) / 2
                fabric.backward(loss)
            if not is_accumulating:
                fabric.clip_gradients(module, optimizer, max_norm=0.5, error_if_nonfinite=False)
                optimizer.step()
                optimizer.zero_grad()
        scheduler.step()
        state.update(epoch=epoch + 1, rng=torch.get_rng_state())
        fabric.save(folder / "last.ckpt", state)
        if stop_after == epoch + 1:
            break
    return module.module


def train_with_torch(dtype):
    loader, module, optimizer = _parts()
    module.to(dtype)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for _ in range(EPOCHS):
        for index, (x, y) in enumerate(loader):
            (nn.functional.mse_loss(module(x.to(dtype)), y.to(dtype)) / 2).backward()
            if index % 2 == 1:
                nn.utils.clip_grad_norm_(module.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
        scheduler.step()
    return module


def _equal(first, second):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


def test_the_same_weights_bit_for_bit(tmp_path):
    assert _equal(train_with_fabric(tmp_path), train_with_torch(torch.float32))


def test_a_run_that_is_taken_up_again_ends_like_one_that_was_not(tmp_path):
    whole = train_with_fabric(tmp_path)
    train_with_fabric(tmp_path, stop_after=1)
    assert _equal(train_with_fabric(tmp_path, resume=True), whole)


def test_64_bits_are_those_of_a_loop_in_float64(tmp_path):
    trained = train_with_fabric(tmp_path, {"precision": "64-true"})
    assert _equal(trained, train_with_torch(torch.float64))


def _without_overflow():
    return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))


@pytest.mark.parametrize("make", [lambda: MixedPrecision("bf16-mixed", "cpu"), _without_overflow])
def test_mixed_precision_comes_near(tmp_path, make):
    trained = train_with_fabric(tmp_path, {"plugins": make()})
    exact = train_with_torch(torch.float32)
    for one, other in zip(trained.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=0.01, rtol=0.01)
