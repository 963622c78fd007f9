"""An error anywhere: everybody hears of it, nothing stays behind, and it is the last thing said."""

import signal
import sys
import time
import warnings

import pytest
import torch
from tests.distributed.ranks import outcomes_of_ranks
from tests.faults.forks import forked
from tests.small_runs import Memory, Small, rows, trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore")
NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]


class Boom(Exception):
    """What fails on purpose."""


class Hears(Callback):
    """Remembers what it is told from the error on."""

    def __init__(self):
        self.heard = []

    def on_exception(self, trainer, module, exception):
        self.heard.append(type(exception).__name__)

    def teardown(self, trainer, module, stage):
        self.heard.append(stage)


def ended(run, *, told=("Boom", "fit")):
    """Run what fails; all that may not stay behind is looked for."""
    hears, logger = Hears(), Memory()
    before = [signal.getsignal(number) for number in NUMBERS]
    others = set(torch.multiprocessing.active_children())  # of other tests
    with pytest.raises(Boom):
        run([hears], logger)
    assert hears.heard == list(told)
    assert [signal.getsignal(number) for number in NUMBERS] == before
    assert not set(torch.multiprocessing.active_children()) - others
    return logger


# --- loggers ------------------------------------------------------------------------------------

OF_LOGGERS = [
    *("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize"),
]


@pytest.mark.parametrize("name", OF_LOGGERS)
def test_an_error_in_a_logger(tally, name):
    def fails(self, *args, **kwargs):
        raise Boom(name)

    tally("exception in a hook")
    broken = type("Broken", (Memory,), {name: fails})()

    def run(callbacks, logger):
        module = Small()
        module.save_hyperparameters({"lr": 1})
        of = trainer(logger=[broken, logger], callbacks=[*callbacks, ModelCheckpoint("kept")])
        of.fit(module)

    told = ("fit", "Boom") if name == "finalize" else ("Boom", "fit")
    assert ended(run, told=told).of("finalize")[-1] == ("failed",)


# --- loaders ------------------------------------------------------------------------------------


class Breaks(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            raise Boom(f"row {index}")
        return (rows()[index],)


class BreaksMidway(IterableDataset):
    def __iter__(self):
        yield from ((row,) for row in rows(5))
        raise Boom("row 5")


class NeverBegins:
    def __iter__(self):
        raise Boom("no beginning")


def _cannot_collate(samples):
    raise Boom("no batch")


class BreaksOrder(torch.utils.data.Sampler):
    def __iter__(self):
        yield 0
        raise Boom("no order")

    def __len__(self):
        return 8


LOADERS = {
    "data set": lambda: DataLoader(Breaks(), 2),
    "data set in a worker": lambda: DataLoader(Breaks(), 2, num_workers=2),
    "workers that persist": lambda: DataLoader(Breaks(), 2, num_workers=2, persistent_workers=True),
    "stream": lambda: DataLoader(BreaksMidway(), 2),
    "stream in a worker": lambda: DataLoader(BreaksMidway(), 2, num_workers=1),
    "iterable": NeverBegins,
    "collate": lambda: DataLoader(rows(), 2, collate_fn=_cannot_collate),
    "sampler": lambda: DataLoader(rows(), 2, sampler=BreaksOrder()),
}


@pytest.mark.parametrize("verb", ["fit", "test"])
@pytest.mark.parametrize("kind", LOADERS)
def test_an_error_in_a_loader(tally, kind, verb):
    tally("exception in a loader")

    def run(callbacks, logger):
        getattr(trainer(logger=logger, callbacks=callbacks), verb)(Small(), LOADERS[kind]())

    assert ended(run, told=("Boom", verb)).of("finalize") == [("failed",)]


# --- the end of a process -----------------------------------------------------------------------


class LeavesLate(Callback):
    """Fails in everything that comes after an error."""

    def on_exception(self, *args):
        sys.exit(5)

    def teardown(self, *args, **kwargs):
        raise ValueError("second")


def _fails(strict):
    warnings.simplefilter("error" if strict else "default")
    logger = type("Broken", (Memory,), {"finalize": lambda *args: 1 / 0})()

    class Failing(Small):
        def training_step(self, batch, batch_idx):
            raise Boom("the first error")

        def train_dataloader(self):
            return DataLoader(super().train_dataloader().dataset, 2, num_workers=2)

    of = trainer(logger=logger, callbacks=[LeavesLate()], log_every_n_steps=1)
    of.fit(Failing())


@pytest.mark.parametrize("strict", [False, True], ids=["", "warnings are errors"])
def test_the_first_error_is_the_last_on_the_screen(tally, strict):
    tally("exception in a hook", 4)
    code, output = forked(_fails, strict)
    assert code == 1
    *before, error, note = output.strip().splitlines()
    assert error.endswith("Boom: the first error")
    assert note.startswith("in `training_step`, epoch 0, batch 0")
    text = "\n".join(before)
    for later in ("SystemExit: 5", "ZeroDivisionError", "ValueError: second"):
        assert f"While ending a failed run: {later}" in text


# --- several ranks ------------------------------------------------------------------------------

PLACES = [
    *("prepare_data", "setup", "configure_model", "configure_optimizers", "train_dataloader"),
    *("on_fit_start", "on_validation_batch_end", "on_train_start", "on_train_epoch_start"),
    *("on_train_batch_start", "training_step", "on_before_optimizer_step", "optimizer_step"),
    *("on_train_batch_end", "on_validation_start", "on_validation_epoch_end", "on_train_epoch_end"),
    *("on_save_checkpoint", "on_train_end", "on_fit_end", "teardown"),
]
SHORT = ["setup", "training_step", "on_save_checkpoint"]


def _fails_on(place, ranks):
    warnings.simplefilter("ignore")
    told = []

    def fails(self, *args, **kwargs):
        if self.trainer.global_rank in ranks:
            told.append(time.monotonic())
            raise Boom(place)
        return getattr(Small, place)(self, *args, **kwargs)

    module = type("Failing", (Small,), {place: fails})()
    hears, logger = Hears(), Memory()
    of = pl.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=logger,
        callbacks=[hears, ModelCheckpoint("kept")], enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    try:
        of.fit(module)
    except Boom as error:
        return str(error), hears.heard, logger.of("finalize")[-1:]
    return None


def _check(place, ranks):
    began = time.monotonic()
    outcomes = outcomes_of_ranks(_fails_on, 2, place, ranks, limit=40)
    assert time.monotonic() - began < 40
    for rank, (ok, found, text) in enumerate(outcomes):
        if rank in ranks:
            assert ok, text
            heard = ["fit", "Boom"] if place == "teardown" else ["Boom", "fit"]
            assert found == (place, heard, [("failed",)])
        else:
            assert not ok
            assert f"rank {ranks[0]} failed first: Boom: {place}" in text


@pytest.mark.parametrize("place", SHORT)
def test_an_error_on_one_rank_ends_both(tally, place):
    tally("exception in a hook")
    _check(place, (1,))


@pytest.mark.long
@pytest.mark.parametrize("ranks", [(0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("place", PLACES)
def test_an_error_in_any_hook_on_any_rank_ends_both(tally, place, ranks):
    if place == "prepare_data" and ranks != (0,):
        ranks = (0,)  # which alone prepares
    if place in ("teardown", "on_fit_end") and ranks != (0, 1):
        ranks = (0, 1)  # by then the other rank has no need of this one
    tally("exception in a hook", len(ranks))
    _check(place, ranks)
