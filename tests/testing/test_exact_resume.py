"""Modules that resume exactly pass; each kind that does not is found, and the cause is named."""

import itertools
import random
import time

import numpy
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.testing import assert_exact_resume


class Samples(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return index, torch.full((4,), float(index)) + torch.rand(4)


def loader(**options):
    return DataLoader(Samples(), 2, shuffle=True, **options)


class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.dropout = nn.Dropout(0.3)

    def training_step(self, batch, batch_idx):
        loss = self.dropout(self.layer(batch[1])).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch[1]).square().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


# --- what resumes ---------------------------------------------------------------------------------


def test_a_module_is_stopped_after_every_batch_and_epoch_and_stays_as_it_is(tally):
    module = Net()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    tried = assert_exact_resume(module, loader(), val_data=loader())
    tally("resume at a batch", tried)
    assert tried == 9 + 3
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_functions_callbacks_loggers_and_options(tmp_path, tally):
    tried = assert_exact_resume(
        Net,
        lambda: loader(num_workers=2),
        val_data=loader,
        every=4,
        callbacks=lambda: [EarlyStopping("val_loss"), ModelCheckpoint(monitor="val_loss")],
        logger=CSVLogger(tmp_path),
        max_epochs=2,
        accumulate_grad_batches=2,
    )
    tally("resume at a batch", tried)
    assert tried == 2 + 2


class Data(pl.LightningDataModule):
    def train_dataloader(self):
        return {"a": loader(), "b": loader()}


class OfTwo(Net):
    def training_step(self, batch, batch_idx):
        return super().training_step(batch["a"], batch_idx) + batch["b"][1].mean()


def test_a_datamodule_with_several_loaders():
    assert assert_exact_resume(OfTwo(), Data(), every=2, max_epochs=2) == 3 + 2


class WithLoaders(Net):
    def train_dataloader(self):
        return loader()


@pytest.mark.long
def test_the_loaders_of_the_module_in_processes_of_their_own():
    assert assert_exact_resume(WithLoaders(), every=9, max_epochs=1, start="spawn") == 1 + 1


def test_attributes_without_an_effect_that_come_to_the_same_are_no_difference():
    class Remembers(Net):
        def training_step(self, batch, batch_idx):
            self.last = batch
            return super().training_step(batch, batch_idx)

    assert assert_exact_resume(Remembers(), loader(), every=2, max_epochs=2) == 5


# --- what does not --------------------------------------------------------------------------------


class Counts(Net):
    """A counter that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.counter = 0

    def training_step(self, batch, batch_idx):
        self.counter += 1
        return super().training_step(batch, batch_idx)


class Draws(Net):
    """A generator of its own."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + torch.rand(1, generator=self.generator)


class Steers(Net):
    """Losses in a list, by which the learning rate is set."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.losses.append(loss.item())
        if len(self.losses) % 4 == 0:
            self.optimizers().param_groups[0]["lr"] = 0.1 * sum(self.losses[-4:])
        return loss


class MadeAnew(Net):
    """A layer that is put in the place of another one, of which the optimizer is not told."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.layer = nn.Linear(4, 1)


class Grouped(Net):
    """Parameters in a tensor that is none of the module."""

    def __init__(self):
        super().__init__()
        self.hidden = [torch.ones(1, requires_grad=True)]

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * self.hidden[0].square().sum()

    def configure_optimizers(self):
        return torch.optim.SGD([*self.parameters(), *self.hidden], 0.01, momentum=0.9)


class AsSet(Net):
    """What it has seen, in an object of its own."""

    class Seen:
        def __init__(self):
            self.numbers = set()

    def __init__(self):
        super().__init__()
        self.seen = self.Seen()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        new = {int(i) for i in batch[0]} - self.seen.numbers
        self.seen.numbers |= new
        return loss * (1 + len(new))


COUNT = itertools.count()


class CountsInTheFile(Net):
    """A counter of the whole program."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) * (1 + next(COUNT))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Counts, ["counter", "is 8, in the whole run 9", "after batch 0 of epoch 0", "buffer"]),
        (Draws, ["loss", "batch 1 of epoch 0", "`generator` of the module Draws", "no state"]),
        (Steers, ["learning rates", "batch 0 of epoch 1", "`losses[0]` of the module Steers"]),
        (MadeAnew, ["after batch 0 of epoch 1", "weights", "layer.weight"]),
        (Grouped, ["loss", "batch 1 of epoch 0", "`hidden[0]` of the module Grouped"]),
        (AsSet, ["loss", "`seen.numbers` of the module AsSet", "set ["]),
        (CountsInTheFile, ["loss", "batch 1 of epoch 0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_state_of_a_module_that_no_file_holds(module, said, tally):
    tally("state that no file holds")
    with pytest.raises(AssertionError) as error:
        assert_exact_resume(module(), loader())
    for words in said:
        assert words in str(error.value), str(error.value)


def test_what_is_named_may_be_left_out():
    assert assert_exact_resume(Counts(), loader(), ignore=["counter"], max_epochs=1) == 4


def test_a_callback_without_its_state(tally):
    class Warms(pl.Callback):
        seen = None

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            self.seen = (self.seen or 0) + 1
            trainer.optimizers[0].param_groups[0]["lr"] = 0.01 / self.seen

    tally("state that no file holds")
    with pytest.raises(AssertionError) as error:
        assert_exact_resume(Net(), loader(), callbacks=[Warms()])
    assert "`seen` of the callback Warms is 1 in the whole run and missing in the" in str(
        error.value
    )
    assert "`state_dict`" in str(error.value)


def test_a_datamodule_without_its_state(tally):
    class Curriculum(pl.LightningDataModule):
        level = 0

        def train_dataloader(self):
            return loader()

        def on_after_batch_transfer(self, batch, dataloader_idx):
            self.level = self.level + 1
            return batch[0], batch[1] * self.level

    tally("state that no file holds")
    with pytest.raises(AssertionError) as error:
        assert_exact_resume(Net(), Curriculum())
    assert "training batch: `[1]` (batch 1 of epoch 0)" in str(error.value)
    assert "`level` of the datamodule Curriculum" in str(error.value)


def test_the_clock_is_no_difference_of_the_resume(tally):
    class Timed(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch, batch_idx) * (1 + time.monotonic() % 1)

    tally("training that cannot be repeated")
    with pytest.raises(AssertionError) as error:
        assert_exact_resume(Timed(), loader())
    assert "trains differently each time under one seed" in str(error.value)
    assert "loss (batch 0 of epoch 0)" in str(error.value)


def test_an_operation_without_an_order(tally):
    class Unordered(Net):
        def training_step(self, batch, batch_idx):
            noise = torch.rand(1, generator=torch.Generator().manual_seed(time.time_ns() % 2**31))
            return super().training_step(batch, batch_idx) + 1e-3 * noise

    tally("training that cannot be repeated")
    with pytest.raises(AssertionError, match="deterministic=True"):
        assert_exact_resume(Unordered(), loader())


def test_a_hook_that_draws_while_saving(tally):
    class Draws(Net):
        def on_save_checkpoint(self, checkpoint):
            checkpoint["drawn"] = torch.rand(1)

    tally("training that cannot be repeated")
    with pytest.raises(AssertionError, match="Saving changes how Draws trains"):
        assert_exact_resume(Draws(), loader())


class Stream(IterableDataset):
    def __iter__(self):
        for index in range(6):
            yield index, torch.full((4,), float(index))


def test_a_stream_without_a_place(tally):
    tally("data without a place")
    with pytest.raises(AssertionError) as error:
        assert_exact_resume(Net(), DataLoader(Stream(), 2))
    assert "after batch 0 of epoch 0, training batch" in str(error.value)
    assert "It warned: The place in `DataLoader` is unknown" in str(error.value)


class OwnChance(Samples):
    def __init__(self, generator):
        self.generator = generator

    def __getitem__(self, index):
        noise = self.generator.random()
        return index, torch.full((4,), float(index) + float(noise))


@pytest.mark.parametrize(("make", "workers"), [(numpy.random.default_rng, 2), (random.Random, 0)])
def test_a_data_set_with_a_generator_of_its_own(make, workers, tally):
    tally("data without a place")
    data = DataLoader(OwnChance(make(1)), 2, num_workers=workers)
    with pytest.raises(AssertionError) as error:
        assert_exact_resume(Net(), data)
    assert "training batch: `[1]`" in str(error.value)
    assert "`generator` of the training data OwnChance is" in str(error.value)
    assert ("worker processes" in str(error.value)) == (workers > 0)


def test_data_that_a_function_makes_anew_each_time(tally):
    def noise():
        return DataLoader(torch.utils.data.TensorDataset(torch.arange(6), torch.rand(6, 4)), 2)

    tally("data without a place")
    with pytest.raises(AssertionError, match=r"`tensors\[1\]` of the training data Tens"):
        assert_exact_resume(Net(), noise)


# --- bad input ------------------------------------------------------------------------------------


def test_a_run_that_fails_by_itself_shows_its_error():
    class Fails(Net):
        def training_step(self, batch, batch_idx):
            raise ZeroDivisionError("on purpose")

    with pytest.raises(RuntimeError, match="before anything was resumed(.|\n)*on purpose"):
        assert_exact_resume(Fails(), loader())


def test_a_run_that_fails_when_it_is_resumed_is_a_difference():
    class Fails(Net):
        def on_load_checkpoint(self, checkpoint):
            raise ZeroDivisionError("on purpose")

    with pytest.raises(AssertionError, match="after batch 0 of epoch 0, it failed(.|\n)*purpose"):
        assert_exact_resume(Fails(), loader())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "`every=0`"),
        ({"start": "thread"}, "`start='thread'`"),
        ({"devices": 2}, "simulate"),
    ],
)
def test_options_that_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        assert_exact_resume(Net(), loader(), **options)


def test_what_cannot_be_sent_to_a_new_interpreter():
    class Local(Net):
        pass

    with pytest.raises(ValueError, match="start='fork'"):
        assert_exact_resume(Local(), loader(), start="spawn")
