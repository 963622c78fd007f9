"""Exact resumption of the many kinds of runs: data, schedulers, optimizers, loops."""

import pytest
import torch
from tests.resume.matrix import Cell, Net, check, loader
from torch import nn
from torch.utils.data import IterableDataset

from pytorch_lightning.callbacks import EarlyStopping, GradientAccumulationScheduler
from pytorch_lightning.utilities.combined_loader import CombinedLoader

# --- schedulers -----------------------------------------------------------------------------------


class Scheduled(Net):
    """Adam with a scheduler of its configuration."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), 0.05)
        return {"optimizer": optimizer, "lr_scheduler": self.make(optimizer)}


def every_step(optimizer):
    return {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2), "interval": "step"}


def every_other_step(optimizer):
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return {"scheduler": scheduler, "interval": "step", "frequency": 2}


def one_cycle(optimizer):
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=20)
    return {"scheduler": scheduler, "interval": "step"}


def every_epoch(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1)


def plateau(optimizer):
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
    return {"scheduler": scheduler, "monitor": "val_loss"}


def plateau_by_step(optimizer):
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=1.0)
    return {"scheduler": scheduler, "monitor": "loss", "interval": "step"}


SCHEDULERS = [every_step, every_other_step, one_cycle, every_epoch, plateau, plateau_by_step]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_end", "training_step"])
@pytest.mark.parametrize("make", SCHEDULERS)
def test_schedulers(make, hook, tmp_path):
    assert check(Cell(lambda: Scheduled(make)), hook, tmp_path, every=2) >= 1


@pytest.mark.parametrize("make", [every_step, every_other_step, plateau_by_step])
def test_schedulers_within_windows(make, tmp_path):
    cell = Cell(lambda: Scheduled(make), options={"accumulate_grad_batches": 3})
    assert check(cell, "on_train_batch_end", tmp_path) == 12


def test_a_plateau_that_waits_for_the_validation_of_an_earlier_epoch(tmp_path):
    cell = Cell(lambda: Scheduled(plateau), options={"check_val_every_n_epoch": 2, "max_epochs": 4})
    run = {**cell.options, "limit_train_batches": 2}
    with_file = Cell(lambda: Scheduled(_plateau_not_strict), options=run)
    assert check(with_file, "on_train_batch_end", tmp_path) == 8


def _plateau_not_strict(optimizer):
    return {**plateau(optimizer), "strict": False}


# --- optimizers -----------------------------------------------------------------------------------


class InTurn(Net):
    """Two optimizers, each with parameters of its own, in the way of 1.x."""

    frequencies = None

    def __init__(self):
        super().__init__()
        self.other = nn.Linear(4, 1)

    def training_step(self, batch, batch_idx, optimizer_idx):
        loss = self.loss(batch) if optimizer_idx == 0 else self.other(batch[1]).square().mean()
        self.saw(f"train {optimizer_idx}", batch, loss)
        self.log(f"loss {optimizer_idx}", loss, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        optimizers = [torch.optim.Adam(m.parameters(), 0.05) for m in (self.net, self.other)]
        if self.frequencies is None:
            return optimizers
        return [
            {"optimizer": optimizer, "frequency": frequency, "lr_scheduler": every_step(optimizer)}
            for optimizer, frequency in zip(optimizers, self.frequencies, strict=True)
        ]


class ByFrequency(InTurn):
    """Two batches for one optimizer, one for the other."""

    frequencies = (2, 1)


class Manual(InTurn):
    """The same by hand, with a scheduler."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for index, optimizer in enumerate(self.optimizers()):
            with optimizer.toggle_model():
                loss = InTurn.training_step(self, batch, batch_idx, index)
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
        self.lr_schedulers().step()

    def configure_optimizers(self):
        optimizers = super().configure_optimizers()
        return optimizers, [torch.optim.lr_scheduler.StepLR(optimizers[0], 2)]


class ByHandEverySecondBatch(Net):
    """Gradients that are summed over two batches by hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx))
        if batch_idx % 2:
            self.optimizers().step()
            self.optimizers().zero_grad()


SEVERAL = [InTurn, ByFrequency, Manual, ByHandEverySecondBatch]


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_batch_start"])
@pytest.mark.parametrize("module", SEVERAL)
def test_several_optimizers_and_manual_ones(module, hook, tmp_path):
    assert check(Cell(module), hook, tmp_path) == 12


@pytest.mark.parametrize("module", [InTurn, ByFrequency])
def test_several_optimizers_within_windows(module, tmp_path):
    cell = Cell(module, options={"accumulate_grad_batches": 3})
    assert check(cell, "on_train_batch_end", tmp_path) == 12


def test_an_optimizer_that_calls_its_closure_often(tmp_path):
    class Curved(Net):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), 0.01, max_iter=3)

    assert check(Cell(Curved), "on_train_batch_end", tmp_path, every=3) == 4


# --- data -----------------------------------------------------------------------------------------

COLLECTIONS = {
    "dict": lambda: {"a": loader(5), "b": loader(3)},
    "list": lambda: [loader(3), loader(7, shuffle=False)],
    "min_size": lambda: CombinedLoader({"a": loader(5), "b": loader(7)}, "min_size"),
    "max_size": lambda: CombinedLoader([loader(5), loader(3)], "max_size"),
    "max_size_cycle": lambda: CombinedLoader([loader(7), loader(3)], "max_size_cycle"),
}


@pytest.mark.parametrize("hook", ["on_train_batch_end", "training_step"])
@pytest.mark.parametrize("name", COLLECTIONS)
def test_several_loaders(name, hook, tmp_path):
    assert check(Cell(train=COLLECTIONS[name]), hook, tmp_path) >= 6


class Stream(IterableDataset):
    """Samples without a known number, which tells and takes its place."""

    def __init__(self, size):
        self.size = size
        self.place = 0

    def __iter__(self):
        while self.place < self.size:
            self.place += 1
            yield self.place, torch.arange(4.0) / 10 + torch.rand(4)
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def stream(workers=0):
    return torch.utils.data.DataLoader(Stream(7), 2, num_workers=workers)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "training_step", "on_train_epoch_end"])
def test_a_stream_of_unknown_length(hook, tmp_path):
    assert check(Cell(train=stream), hook, tmp_path) >= 3


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
def test_workers(hook, tmp_path):
    cell = Cell(
        train=lambda: loader(workers=2),
        validation=lambda: loader(4, shuffle=False, workers=2),
        options={"max_epochs": 2, "val_check_interval": 2},
    )
    assert check(cell, hook, tmp_path, every=3) >= 2


def test_workers_that_persist(tmp_path):
    cell = Cell(
        train=lambda: loader(workers=2, persistent_workers=True),
        validation=None,
        options={"max_epochs": 2},
    )
    assert check(cell, "on_train_batch_end", tmp_path, every=3) >= 2


def test_loaders_that_are_asked_for_anew(tmp_path):
    class Own(Net):
        def train_dataloader(self):
            self.story.events.append("train_dataloader")
            return loader(3 + 2 * self.current_epoch)

        def val_dataloader(self):
            return loader(1 + self.current_epoch)

    cell = Cell(
        Own,
        train=lambda: None,
        validation=None,
        options={"reload_dataloaders_every_n_epochs": 1},
    )
    assert check(cell, "on_train_batch_end", tmp_path) == 9


def test_loaders_that_are_asked_for_anew_every_other_epoch(tmp_path):
    class Own(Net):
        def train_dataloader(self):
            self.story.events.append("train_dataloader")
            return loader(3)

        def val_dataloader(self):
            self.story.events.append("val_dataloader")
            return loader(2)

    options = {"reload_dataloaders_every_n_epochs": 2, "max_epochs": 5}
    cell = Cell(Own, train=lambda: None, validation=None, options=options)
    assert check(cell, "on_train_epoch_end", tmp_path) == 5


@pytest.mark.parametrize("hook", ["on_validation_batch_end", "on_validation_batch_start"])
def test_several_validation_loaders(hook, tmp_path):
    cell = Cell(validation=lambda: [loader(3), loader(4)], options={"val_check_interval": 2})
    assert check(cell, hook, tmp_path, every=2) >= 8


# --- loops ----------------------------------------------------------------------------------------

LOOPS = {
    "sanity check": {"num_sanity_val_steps": 2},
    "every other epoch": {"check_val_every_n_epoch": 2, "max_epochs": 4},
    "over the run": {"check_val_every_n_epoch": None, "val_check_interval": 3},
    "max_steps": {"max_steps": 6, "max_epochs": -1},
    "max_steps at the end of an epoch": {"max_steps": 8, "max_epochs": -1},
    "clipping": {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2},
    "few rows": {"log_every_n_steps": 3},
    "no validation": {"limit_val_batches": 0},
    "part of the data": {"limit_train_batches": 3, "limit_val_batches": 1},
    "overfit": {"overfit_batches": 2},
}


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end"])
@pytest.mark.parametrize("name", LOOPS)
def test_loops(name, hook, tmp_path):
    assert check(Cell(options=LOOPS[name]), hook, tmp_path) >= 1


class Stops(Net):
    """Asks to stop in the middle of the second epoch."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.current_epoch == 1 and batch_idx == 1:
            self.trainer.should_stop = True


@pytest.mark.parametrize("options", [{}, {"min_epochs": 3}, {"min_steps": 7}])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end", "on_validation_end"])
def test_a_stop_that_was_asked_for(hook, options, tmp_path):
    cell = Cell(Stops, options={"max_epochs": 4, **options})
    assert check(cell, hook, tmp_path, by_request=hook == "on_train_batch_end") >= 2


def test_a_stop_for_want_of_progress(tmp_path):
    def early():
        return [EarlyStopping("val_loss", patience=1, min_delta=10.0)]

    cell = Cell(callbacks=early, options={"max_epochs": 6})
    for hook in ("on_train_batch_end", "on_validation_end", "on_train_epoch_end"):
        assert check(cell, hook, tmp_path) >= 2


def test_windows_that_grow(tmp_path):
    cell = Cell(callbacks=lambda: [GradientAccumulationScheduler({1: 3})])
    assert check(cell, "on_train_batch_end", tmp_path) == 12


class Cuts(Net):
    """Leaves the second epoch after two batches."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if self.current_epoch == 1 and batch_idx == 2 else None


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end"])
def test_an_epoch_that_is_cut(hook, accumulate, tmp_path):
    cell = Cell(Cuts, options={"accumulate_grad_batches": accumulate})
    assert check(cell, hook, tmp_path) >= 3


class HalfFrozen(Net):
    """Freezes and sets modes while it trains."""

    def on_train_epoch_start(self):
        self.net[0].requires_grad_(self.current_epoch != 1)
        self.net[2].train(self.current_epoch == 0)


@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_validation_batch_end"])
def test_frozen_parameters_and_modes(hook, tmp_path):
    assert check(Cell(HalfFrozen), hook, tmp_path, every=2) >= 3
