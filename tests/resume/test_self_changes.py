"""What a module changes about itself and its optimizers while it trains is there after a resume."""

import pytest
import torch
from tests.distributed.ranks import run_ranks
from tests.resume.matrix import Cell, Net, assert_same, check, loader, train
from torch import nn

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import CheckpointError


class Grows(Net):
    """Gives its optimizer a second and a third group while it trains, as fine-tuning does."""

    def __init__(self, named=False):
        super().__init__()
        self.named = named
        self.other = nn.Linear(4, 1)

    def loss(self, batch):
        return super().loss(batch) + self.other(batch[1]).square().mean()

    def members(self, module):
        return list(module.named_parameters() if self.named else module.parameters())

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.members(self.net), 0.05)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)]

    def on_train_batch_start(self, batch, batch_idx):
        first, second = ([p] for p in self.members(self.other))
        if (self.current_epoch, batch_idx) == (0, 2):
            self.optimizers().add_param_group({"params": first, "lr": 0.01, "weight_decay": 0.1})
        if (self.current_epoch, batch_idx) == (1, 1):
            self.optimizers().add_param_group({"params": second, "betas": (0.5, 0.6)})


@pytest.mark.parametrize("named", [False, True], ids=["tensors", "names"])
@pytest.mark.parametrize("hook", ["on_train_batch_end", "on_train_epoch_end", "training_step"])
def test_groups_that_were_added(hook, named, tmp_path):
    assert check(Cell(lambda: Grows(named)), hook, tmp_path) >= 3


def test_groups_that_were_added_within_windows(tmp_path):
    cell = Cell(Grows, options={"accumulate_grad_batches": 3})
    assert check(cell, "on_train_batch_end", tmp_path) == 12


class GrowsOneOfTwo(Grows):
    """Two optimizers by hand, of which the second one grows."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.third = nn.Linear(4, 1)

    def configure_optimizers(self):
        return [
            torch.optim.Adam(self.third.parameters(), 0.05),
            torch.optim.SGD(self.net.parameters(), 0.05, momentum=0.9),
        ]

    def on_train_batch_start(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (0, 2):
            group = {"params": list(self.other.parameters()), "lr": 0.01}
            self.optimizers()[1].add_param_group(group)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx) + self.third(batch[1]).square().mean()
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()


def test_groups_of_one_of_two_optimizers(tmp_path):
    assert check(Cell(GrowsOneOfTwo), "on_train_batch_end", tmp_path) == 12


class Shrinks(Grows):
    """Takes parameters out of a group and freezes them, drops a group, and swaps two layers."""

    def configure_optimizers(self):
        groups = [{"params": list(self.net.parameters())}, {"params": self.other.parameters()}]
        return torch.optim.Adam(groups, 0.05)

    def on_train_batch_start(self, batch, batch_idx):
        groups = self.optimizers().param_groups
        if (self.current_epoch, batch_idx) == (0, 2):
            self.take_out(groups[0]["params"].pop(0))
        if (self.current_epoch, batch_idx) == (1, 2):
            for parameter in groups.pop()["params"]:
                self.take_out(parameter)

    def take_out(self, parameter):
        parameter.requires_grad = False
        del self.optimizers().state[parameter]  # or torch cannot save it


def test_parameters_that_were_taken_out_and_frozen(tmp_path):
    assert check(Cell(Shrinks), "on_train_batch_end", tmp_path) == 12


class Swaps(Net):
    """Swaps two layers of the same shape: names move, the states of the optimizer do not."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 1), nn.Linear(4, 1)

    def loss(self, batch):
        added = 2 * self.one(batch[1]).square().mean() + self.two(batch[1]).mean() ** 2
        return super().loss(batch) + added

    def on_train_epoch_start(self):
        self.one, self.two = self.two, self.one


def test_parameters_that_were_swapped(tmp_path):
    assert check(Cell(Swaps), "on_train_batch_end", tmp_path) == 12


def test_a_parameter_that_the_module_lacks_is_named(tmp_path):
    class MadeLate(Net):
        def on_train_start(self):
            self.late = nn.Linear(4, 1)
            self.optimizers().add_param_group({"params": self.late.parameters()})

    class NotStrict(Net):
        strict_loading = False

    _, moments = train(Cell(MadeLate), 1, tmp_path, save_in="on_train_batch_end")
    with pytest.raises(CheckpointError, match="does not have: late.bias, late.weight"):
        train(Cell(NotStrict), 2, tmp_path, ckpt_path=moments[0].path)


def test_a_parameter_that_is_new_is_not_left_out_of_the_training(tmp_path):
    class Larger(Net):
        strict_loading = False

        def __init__(self):
            super().__init__()
            self.other = nn.Linear(4, 1)

    _, moments = train(Cell(), 1, tmp_path, save_in="on_train_batch_end")
    with pytest.raises(CheckpointError, match="does not fit Adam"):
        train(Cell(Larger), 2, tmp_path, ckpt_path=moments[0].path)


def _grown(folder, epochs, path):
    pl.seed_everything(1 if path is None else 2, verbose=False)
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, default_root_dir=folder,
        accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    module = Grows()
    trainer.fit(module, loader(9), ckpt_path=path)
    trainer.save_checkpoint(f"{folder}/{epochs}.ckpt")
    groups = [len(g["params"]) for g in trainer.optimizers[0].param_groups]
    states = [s["exp_avg"] for s in trainer.optimizers[0].state_dict()["state"].values()]
    return groups, [p.detach().tolist() for p in [*module.parameters(), *states]]


def test_groups_on_several_ranks(tmp_path):
    whole = run_ranks(_grown, 2, str(tmp_path), 3, None)
    run_ranks(_grown, 2, str(tmp_path), 2, None)
    resumed = run_ranks(_grown, 2, str(tmp_path), 3, str(tmp_path / "2.ckpt"))
    assert whole[0][0] == [6, 1, 1]
    assert whole == resumed


def test_seeds_of_workers_without_seeding_again(tmp_path, monkeypatch):
    cell = Cell(train=lambda: loader(workers=1), validation=None, options={"max_epochs": 2})
    pl.seed_everything(1, workers=True, verbose=False)
    monkeypatch.setattr(pl, "seed_everything", lambda seed, verbose: None)
    whole, moments = train(cell, 1, tmp_path, save_in="on_train_batch_end")
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.delenv(name)
    resumed, _ = train(cell, 2, tmp_path, ckpt_path=moments[2].path)
    assert_same(whole.final["weights"], resumed.final["weights"])


def _epochs(folder, seed, epochs, path):
    if seed is not None:
        pl.seed_everything(seed, verbose=False)
    trainer = pl.Trainer(
        max_epochs=epochs, logger=False, enable_checkpointing=False, default_root_dir=folder,
        accelerator="cpu", devices=2, strategy="ddp", enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    module = Net()
    trainer.fit(module, loader(9), ckpt_path=path)
    trainer.save_checkpoint(f"{folder}/{epochs}.ckpt")
    return [event[1] for event in module.story.events][-6:]  # two epochs


def test_orders_of_later_epochs_on_several_ranks_without_seeding_again(tmp_path):
    whole = run_ranks(_epochs, 2, str(tmp_path), 5, 3, None)
    run_ranks(_epochs, 2, str(tmp_path), 5, 1, None)
    assert run_ranks(_epochs, 2, str(tmp_path), None, 3, str(tmp_path / "1.ckpt")) == whole
