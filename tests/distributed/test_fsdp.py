"""Divided modules against one process: the same weights, optimizer states and results."""

import functools
import os

import pytest
import torch
from tests.distributed.ranks import run_ranks
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.strategies import FSDPStrategy

QUIET = dict(
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)

IN_64_BITS = {"precision": "64-true"}


class Net(pl.LightningModule):
    """Layers of odd sizes, a parameter without a dimension, a frozen one."""

    def __init__(self, optimizer="Adam", on_meta=False):
        super().__init__()
        torch.manual_seed(0)
        with torch.device("meta" if on_meta else "cpu"):
            self.first = nn.Sequential(nn.Linear(4, 7), nn.Tanh())
            self.second = nn.Linear(7, 3)
        self.offset = nn.Parameter(torch.ones(3))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.fixed = nn.Parameter(torch.full((3,), 0.5), requires_grad=False)
        self.optimizer = optimizer

    def forward(self, x):
        return self.second(self.first(x)) * self.scale + self.offset + self.fixed

    def training_step(self, batch, batch_idx):
        return (self.first(batch).sum(1) - self(batch).sum(1)).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val", self(batch).pow(2).mean(), sync_dist=True)

    def predict_step(self, batch, batch_idx):
        return self(batch)

    def configure_optimizers(self):
        kind = getattr(torch.optim, self.optimizer)
        return kind([p for p in self.parameters() if p.requires_grad], lr=0.05)


class Adversaries(pl.LightningModule):
    """Two optimizers by hand, with a backward for each."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.automatic_optimization = False
        self.maker = nn.Linear(4, 4)
        self.judge = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx):
        for_maker, for_judge = self.optimizers()
        loss = -self.judge(self.maker(batch)).tanh().mean()
        for_maker.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(for_maker, gradient_clip_val=0.1, gradient_clip_algorithm="norm")
        for_maker.step()
        loss = (self.judge(self.maker(batch).detach()) - self.judge(batch)).pow(2).mean()
        for_judge.zero_grad()
        self.manual_backward(loss)
        for_judge.step()

    def configure_optimizers(self):
        return (
            torch.optim.Adam(self.maker.parameters(), lr=0.05),
            torch.optim.SGD(self.judge.parameters(), lr=0.05),
        )


class Tied(pl.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.into = nn.Linear(4, 4, bias=False)
        self.out = nn.Linear(4, 4, bias=False)
        self.out.weight = self.into.weight

    def training_step(self, batch, batch_idx):
        return self.out(self.into(batch).tanh()).pow(2).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def batches(count=4, size=6):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 4, generator=generator) for _ in range(count)]


def whole(module):
    """Every parameter as a list; each rank has to ask."""
    found = {}
    for name, parameter in module.named_parameters():
        full = getattr(parameter, "full_tensor", None)
        found[name] = (parameter if full is None else full()).detach().tolist()
    return found


def states(optimizer):
    """What an optimizer keeps, whole, by the number of the parameter."""
    found = {}
    for number, entries in optimizer.state_dict()["state"].items():
        for name, value in entries.items():
            full = getattr(value, "full_tensor", None)
            found[f"{number}.{name}"] = (value if full is None else full()).tolist()
    return found


def fit(module, strategy="auto", world=1, **kwargs):
    rank = int(os.environ.get("RANK", 0))
    options = {**QUIET, "max_epochs": 1, "use_distributed_sampler": False, **IN_64_BITS, **kwargs}
    trainer = pl.Trainer(devices=world, strategy=strategy, **options)
    trainer.fit(module, [batch[rank::world] for batch in batches()])
    return trainer


def _fits(world, cells):
    found = []
    for make, options, kwargs in cells:
        module = make()
        trainer = fit(module, FSDPStrategy(**options), world, **kwargs)
        found.append((whole(module), [states(o) for o in trainer.optimizers]))
    return found


def assert_close(found, expected, atol=1e-12):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            torch.tensor(found[name]), torch.tensor(value), rtol=0, atol=atol, msg=name
        )


CLASSES = {nn.Sequential, nn.Linear}


def _small(module, recurse, nonwrapped_numel):
    return recurse or isinstance(module, nn.Linear)


CELLS = {
    "one unit": (Net, {}, {}),
    "units by class": (Net, {"auto_wrap_policy": CLASSES}, {}),
    "units by a function": (Net, {"auto_wrap_policy": _small}, {}),
    "kept after forward": (Net, {"sharding_strategy": "SHARD_GRAD_OP"}, {}),
    "recomputed": (Net, {"activation_checkpointing_policy": CLASSES}, {}),
    "recomputed units": (
        Net,
        {"activation_checkpointing": [nn.Linear], "auto_wrap_policy": CLASSES},
        {},
    ),
    "SGD": (functools.partial(Net, "SGD"), {}, {}),
    "clipped by norm": (Net, {"auto_wrap_policy": CLASSES}, {"gradient_clip_val": 0.1}),
    "clipped by value": (
        Net,
        {},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    ),
    "accumulated": (Net, {}, {"accumulate_grad_batches": 3}),
    "on the meta device": (functools.partial(Net, on_meta=True), {}, {}),
    "two optimizers by hand": (Adversaries, {}, {}),
    "two by hand in units": (Adversaries, {"auto_wrap_policy": {nn.Linear}}, {}),
    "tied": (Tied, {"auto_wrap_policy": {nn.Linear}}, {}),
}


@pytest.fixture(scope="module")
def fitted():
    return run_ranks(_fits, 2, 2, list(CELLS.values()))


@pytest.mark.parametrize("name", [n for n in CELLS if n != "on the meta device"])
def test_weights_and_states_are_those_of_one_process(fitted, name):
    make, _, kwargs = CELLS[name]
    module = make()
    trainer = fit(module, **kwargs)
    place = list(CELLS).index(name)
    for rank in range(2):
        weights, found = fitted[rank][place]
        assert_close(weights, whole(module))
        for ours, theirs in zip(found, trainer.optimizers, strict=True):
            assert_close(ours, states(theirs))


def test_layers_on_the_meta_device_get_the_same_values_everywhere(fitted):
    first, second = (found[list(CELLS).index("on the meta device")][0] for found in fitted)
    assert first == second
    assert torch.tensor(first["second.weight"]).std() > 0.1
