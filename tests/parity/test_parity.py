"""Weights and losses are those of the plain loop, bit for bit."""

import copy
from dataclasses import replace

import pytest
import torch
from tests.parity.oracle import Outcome, Recipe, train
from torch import nn
from torch.optim import LBFGS, SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import pytorch_lightning as pl


class Net(pl.LightningModule):
    """Two halves, so that two optimizers have something of their own; dropout draws numbers."""

    def __init__(self, recipe=None, dropout=0.0):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout))
        self.second = nn.Linear(8, 2)
        self.recipe = recipe
        self.seen = Outcome()

    def forward(self, x):
        return self.second(self.first(x))

    def training_step(self, batch, batch_idx):
        loss = self.recipe.loss(self, batch, 0)
        self.seen.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        optimizers = self.recipe.optimizers(self)
        if self.recipe.scheduler is None:
            return optimizers
        schedulers = [
            {"scheduler": self.recipe.scheduler(o), "interval": self.recipe.every}
            for o in optimizers
        ]
        return optimizers, schedulers


class SeveralNet(Net):
    """Automatic optimization with several optimizers, as the step's signature asks for."""

    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = self.recipe.loss(self, batch, optimizer_idx)
        self.seen.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        optimizers = self.recipe.optimizers(self)
        if not self.recipe.frequencies:
            return optimizers
        return [
            {"optimizer": optimizer, "frequency": frequency}
            for optimizer, frequency in zip(optimizers, self.recipe.frequencies, strict=True)
        ]


class ManualNet(Net):
    """The same several optimizers, stepped by hand."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for index, optimizer in enumerate(self.optimizers()):
            self.toggle_optimizer(optimizer)
            loss = self.recipe.loss(self, batch, index)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            self.untoggle_optimizer(optimizer)
            self.seen.losses.append(loss.item())


def rows(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, 4, generator=generator, dtype=dtype)
    return TensorDataset(x, torch.randn(count, 2, generator=generator, dtype=dtype))


def squared(module, batch, idx):
    x, y = batch
    return ((module(x) - y) ** 2).mean()


def adversarial(module, batch, idx):
    """Another loss for each optimizer."""
    loss = squared(module, batch, idx)
    return loss if idx == 0 else -loss + module(batch[0]).abs().mean()


def sgd(module):
    return [SGD(module.parameters(), lr=0.1)]


def momentum(module):
    return [SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)]


def adam(module):
    return [Adam(module.parameters(), lr=0.01)]


def adamw(module):
    return [AdamW(module.parameters(), lr=0.01)]


def lbfgs(module):
    return [LBFGS(module.parameters(), lr=0.5, max_iter=3)]


def two(module):
    return [SGD(module.first.parameters(), lr=0.1), Adam(module.second.parameters(), lr=0.01)]


RECIPES = {
    "sgd": Recipe(sgd, squared),
    "momentum": Recipe(momentum, squared),
    "adam": Recipe(adam, squared),
    "adamw": Recipe(adamw, squared),
    "clip norm": Recipe(sgd, squared, clip=("norm", 0.1)),
    "clip value": Recipe(adam, squared, clip=("value", 0.01)),
    "accumulate 2": Recipe(adam, squared, accumulate=2),
    "accumulate 4 of 10, two left": Recipe(sgd, squared, accumulate=4),
    "accumulate 8 of 10, clipped": Recipe(sgd, squared, accumulate=8, clip=("norm", 0.1)),
    "accumulate 16 of 10": Recipe(momentum, squared, accumulate=16),
    "step every epoch": Recipe(sgd, squared, epochs=4, scheduler=lambda o: StepLR(o, 2, 0.1)),
    "cosine every step": Recipe(
        adam, squared, scheduler=lambda o: CosineAnnealingLR(o, 20), every="step"
    ),
    "one cycle, windows of 4": Recipe(
        sgd,
        squared,
        accumulate=4,
        scheduler=lambda o: OneCycleLR(o, 0.2, total_steps=6),
        every="step",
    ),
    "lbfgs": Recipe(lbfgs, squared),
    "lbfgs, clipped": Recipe(lbfgs, squared, clip=("norm", 0.5)),
}


def trainer_for(recipe, **options):
    if recipe.clip is not None:
        algorithm, value = recipe.clip
        options |= {"gradient_clip_val": value, "gradient_clip_algorithm": algorithm}
    return pl.Trainer(
        max_epochs=recipe.epochs,
        accumulate_grad_batches=recipe.accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        **options,
    )


def both(recipe, kind=Net, *, loader=None, dropout=0.0, dtype=torch.float32, **options):
    """The outcome of the oracle and that of the trainer, from the same start."""
    torch.manual_seed(1)
    ours = kind(recipe, dropout).to(dtype)
    plain = copy.deepcopy(ours)
    loader = loader or (lambda: DataLoader(rows(20, dtype), batch_size=2))
    torch.manual_seed(2)
    expected = train(plain, loader(), recipe)
    torch.manual_seed(2)
    trainer_for(recipe, **options).fit(ours, loader())
    ours.seen.weights = {k: v.detach().clone() for k, v in ours.state_dict().items()}
    return expected, ours.seen


def assert_same_bits(expected, found):
    assert found.losses == expected.losses
    for name, value in expected.weights.items():
        assert torch.equal(found.weights[name], value), name


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_one_optimizer(recipe):
    assert_same_bits(*both(recipe))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_in_double_precision(recipe):
    expected, found = both(recipe, dtype=torch.float64, precision="64-true")
    assert expected.weights["second.weight"].dtype == torch.float64
    assert_same_bits(expected, found)


@pytest.mark.parametrize("accumulate", [3, 6, 7])
def test_short_windows_of_any_length_are_averaged_over_what_they_hold(accumulate):
    recipe = Recipe(momentum, squared, accumulate=accumulate)
    expected, found = both(recipe, dtype=torch.float64, precision="64-true")
    for name, value in expected.weights.items():
        torch.testing.assert_close(found.weights[name], value, rtol=1e-12, atol=1e-14)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(rows(20))


def test_short_windows_of_a_stream_whose_length_nobody_knows():
    recipe = Recipe(sgd, squared, accumulate=4)
    torch.manual_seed(1)
    ours = Net(recipe)
    plain = copy.deepcopy(ours)
    expected = train(plain, list(DataLoader(Stream(), batch_size=2)), recipe)
    trainer_for(recipe).fit(ours, DataLoader(Stream(), batch_size=2))
    ours.seen.weights = ours.state_dict()
    assert_same_bits(expected, ours.seen)


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_data_and_dropout_draw_the_same_numbers(workers):
    def loader():
        return DataLoader(rows(20), batch_size=2, shuffle=True, num_workers=workers)

    assert_same_bits(*both(replace(RECIPES["adam"], epochs=3), loader=loader, dropout=0.5))


def test_a_smaller_last_batch():
    assert_same_bits(
        *both(RECIPES["adam"], loader=lambda: DataLoader(rows(19), batch_size=4, shuffle=True))
    )


@pytest.mark.parametrize("frequencies", [(), (1, 1), (2, 1), (1, 5)])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_several_optimizers_automatically(frequencies, dropout):
    recipe = Recipe(two, adversarial, frequencies=frequencies)
    assert_same_bits(*both(recipe, SeveralNet, dropout=dropout))


def test_several_optimizers_automatically_with_windows_and_clipping():
    recipe = Recipe(two, adversarial, accumulate=4, clip=("norm", 0.1))
    assert_same_bits(*both(recipe, SeveralNet))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_several_optimizers_by_hand(dropout):
    assert_same_bits(*both(Recipe(two, adversarial), ManualNet, dropout=dropout))


def test_validation_between_epochs_changes_no_bit():
    class Validated(Net):
        def validation_step(self, batch, batch_idx):
            return self.recipe.loss(self, batch, 0)

        def val_dataloader(self):
            return DataLoader(rows(6), batch_size=2)

    assert_same_bits(*both(RECIPES["momentum"], Validated))


def test_logging_changes_no_bit():
    class Logged(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

    assert_same_bits(*both(RECIPES["adam"], Logged, dropout=0.5))


def test_the_rate_of_every_window():
    class Watched(Net):
        def on_before_optimizer_step(self, optimizer):
            self.seen.rates.append(optimizer.param_groups[0]["lr"])

    for name in ("step every epoch", "cosine every step", "one cycle, windows of 4"):
        expected, found = both(RECIPES[name], Watched)
        assert found.rates == expected.rates, name
